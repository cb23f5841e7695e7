//! Crops and resizes photographs, interleaved 8-bit RGB.

use std::cell::RefCell;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// Bytes of a pixel.
const PIXEL: usize = 3;

thread_local! {
    /// Keeps its memory.
    static RESIZER: RefCell<Resizer> = RefCell::default();
}

/// Cuts `crop` (left, top, width, height) out of a photograph `[height, width, 3]` and resizes it to `to` (width, height), with
/// Pillow's antialiased bilinear filter. No pixel outside the crop contributes.
///
/// # Errors
/// When the crop reaches past the photograph, or a side is 0.
pub fn crop_and_resize(
    photograph: &[u8],
    [width, height]: [u32; 2],
    crop: [u32; 4],
    to: [u32; 2],
) -> Result<Vec<u8>, String> {
    let [left, top, w, h] = crop;
    let whole = photograph.len() == width as usize * height as usize * PIXEL;
    let inside = w <= width && left <= width - w && h <= height && top <= height - h;
    if !whole || !inside || [w, h, to[0], to[1]].contains(&0) {
        return Err(format!("a photograph of {width}x{height} holds no crop of {w}x{h} at {left},{top}"));
    }
    let cut: Vec<u8>;
    let pixels = if [w, h] == [width, height] {
        photograph
    } else {
        let rows = photograph.chunks_exact(width as usize * PIXEL).skip(top as usize).take(h as usize);
        let columns = left as usize * PIXEL..(left + w) as usize * PIXEL;
        cut = rows.flat_map(|row| &row[columns.clone()]).copied().collect();
        &cut
    };
    if [w, h] == to {
        return Ok(pixels.to_vec());
    }
    let failed = |e: &dyn std::fmt::Display| format!("a photograph of {w}x{h} cannot be resized to {to:?}: {e}");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let mut out = vec![0; to[0] as usize * to[1] as usize * PIXEL];
    // Uses one pixel type, since the generic function compiles all fifteen.
    let from = TypedImageRef::<U8x3>::from_buffer(w, h, pixels).map_err(|e| failed(&e))?;
    let mut resized = TypedImage::<U8x3>::from_buffer(to[0], to[1], &mut out).map_err(|e| failed(&e))?;
    let done = RESIZER.with_borrow_mut(|resizer| resizer.resize_typed(&from, &mut resized, &options));
    done.map_err(|e| failed(&e))?;
    Ok(out)
}

/// Converts interleaved pixels [height, width, channels] to planes [channels, height, width].
pub fn planes(interleaved: &[u8], channels: usize) -> Vec<u8> {
    let size = interleaved.len() / channels;
    let mut planes = vec![0; size * channels];
    for (c, plane) in planes.chunks_exact_mut(size.max(1)).enumerate() {
        plane.iter_mut().zip(interleaved.chunks_exact(channels)).for_each(|(out, pixel)| *out = pixel[c]);
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_are_cut_out_and_planes_separated() {
        let photograph: Vec<u8> = (0..4 * 5 * 3).collect();
        let crop = crop_and_resize(&photograph, [4, 5], [1, 2, 2, 3], [2, 3]).expect("a crop");
        let expected = (2..5).flat_map(|y| (1..3).flat_map(move |x| (0..3).map(move |c| (12 * y + 3 * x + c) as u8)));
        assert_eq!(crop, expected.collect::<Vec<u8>>());
        assert_eq!(planes(&crop[..6], 3), [27, 30, 28, 31, 29, 32]);
        for crop in [[3, 0, 2, 2], [0, 4, 2, 2], [u32::MAX, 0, 2, 2], [1, 1, 0, 2]] {
            assert!(crop_and_resize(&photograph, [4, 5], crop, [2, 2]).is_err(), "{crop:?}");
        }
        assert!(crop_and_resize(&[], [0, 5], [0, 0, 0, 5], [2, 2]).is_err());
    }
}
