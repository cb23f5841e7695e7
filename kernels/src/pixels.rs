//! Conversion of pixels to model inputs.

/// A crop of a padded image, of the image's own size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PaddedCrop {
    /// Width of the black padding.
    pub padding: usize,
    /// First row and column in the padded image; each at most twice the padding.
    pub at: [usize; 2],
    /// Whether to mirror left to right.
    pub mirror: bool,
}

/// Writes `(pixel / 255 - mean) / std` of a crop of `pixels` [channels, height, width]; `mean` and
/// `std` are per channel.
pub fn normalise(
    pixels: &[u8],
    [height, width]: [usize; 2],
    [mean, std]: [&[f32]; 2],
    crop: PaddedCrop,
    out: &mut [f32],
) {
    let PaddedCrop { padding, at: [top, left], mirror } = crop;
    // Columns of the crop that come from the image, and the image columns they read.
    let end = (width + padding).saturating_sub(left).min(width);
    let inside = padding.saturating_sub(left).min(end)..end;
    let column = |x: usize| (x + left).saturating_sub(padding).min(width);
    let read = column(inside.start)..column(inside.end);
    let written = if mirror { width - inside.end..width - inside.start } else { inside };
    let planes = out.chunks_mut(height * width).zip(pixels.chunks(height * width));
    for ((out, pixels), (mean, std)) in planes.zip(mean.iter().zip(std)) {
        let value = |pixel: &u8| (f32::from(*pixel) / 255.0 - mean) / std;
        let black = value(&0);
        for (y, row) in out.chunks_mut(width).enumerate() {
            let source = (y + top).wrapping_sub(padding);
            if source >= height {
                row.fill(black);
                continue;
            }
            row[..written.start].fill(black);
            row[written.end..].fill(black);
            let row = row[written.clone()].iter_mut();
            let source = &pixels[source * width..][read.clone()];
            if mirror {
                row.rev().zip(source).for_each(|(out, pixel)| *out = value(pixel));
            } else {
                row.zip(source).for_each(|(out, pixel)| *out = value(pixel));
            }
        }
    }
}

/// Writes `pixel / 256 - mean`, with a separate mean per pixel.
pub fn centre(pixels: &[u8], means: &[f32], out: &mut [f32]) {
    let centred = pixels.iter().zip(means).map(|(pixel, mean)| f32::from(*pixel) / 256.0 - mean);
    out.iter_mut().zip(centred).for_each(|(out, value)| *out = value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every crop against the padded image, pixel by pixel.
    #[test]
    fn a_crop_reads_the_padded_image() {
        let (height, width, padding) = (3, 4, 5);
        let pixels: Vec<u8> = (1..=24).collect();
        let (mean, std) = ([0.1f32, 0.2], [0.5f32, 0.25]);
        for top in 0..=2 * padding {
            for left in 0..=2 * padding {
                for mirror in [false, true] {
                    let crop = PaddedCrop { padding, at: [top, left], mirror };
                    let mut out = [f32::NAN; 24];
                    normalise(&pixels, [height, width], [&mean, &std], crop, &mut out);
                    for (i, value) in out.iter().enumerate() {
                        let (c, y, x) = (i / 12, i / 4 % 3, i % 4);
                        let x = if mirror { width - 1 - x } else { x };
                        let (y, x) = ((y + top).wrapping_sub(padding), (x + left).wrapping_sub(padding));
                        let inside = y < height && x < width;
                        let pixel = if inside { pixels[c * 12 + y * width + x] } else { 0 };
                        assert_eq!(*value, (f32::from(pixel) / 255.0 - mean[c]) / std[c], "{crop:?} at {i}");
                    }
                }
            }
        }
    }
}
