//! Exponential and normal distribution, for softmax and GELU. The f32 versions are short enough for
//! the compiler to vectorise. Results are bit-identical on every CPU, since every operation rounds
//! as IEEE 754 specifies.

/// e^x to 2 units in the last place; 0 below -87.3, infinite above 88.7, NaN stays NaN. Uses Cody
/// and Waite's reduction with the polynomial of Moshier's Cephes library (`expf`).
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Adding this leaves the rounded integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let inside = x.clamp(-87.3, 88.7);
    let shifted = inside.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, inside));
    let p = 1.987_569_1e-4f32.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3).mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1).mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    // Two factors, since 2^128 is not representable.
    let power = |n: u32| f32::from_bits(n.wrapping_add(127) << 23);
    let whole = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = whole >> 1;
    let value = p * power(half as u32) * power((whole - half) as u32);
    let value = if x > 88.7 { f32::INFINITY } else { value };
    if x < -87.3 { 0.0 } else { value }
}

/// Standard normal CDF and density at x; the CDF is within 3e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub(super) fn normal_f32(x: f32) -> (f32, f32) {
    const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
    let e = exp_f32(-0.5 * x * x);
    let t = 1.0 / (0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2).mul_add(x.abs(), 1.0);
    let p = 1.061_405_4f32.mul_add(t, -1.453_152).mul_add(t, 1.421_413_8);
    let tail = 0.5 * e * t * p.mul_add(t, -0.284_496_72).mul_add(t, 0.254_829_6);
    (if x < 0.0 { tail } else { 1.0 - tail }, INVERSE_SQRT_TAU * e)
}

/// Standard normal CDF and density at x, to full f64 precision.
pub(super) fn normal_f64(x: f64) -> (f64, f64) {
    let density = libm::exp(-0.5 * x * x) / std::f64::consts::TAU.sqrt();
    (0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2), density)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_and_normal_are_those_of_libm() {
        for i in -90_000..90_000 {
            let x = i as f32 * 1e-3;
            let (found, expected) = (exp_f32(x), libm::exp(f64::from(x)));
            if (-87.3..=88.7).contains(&x) {
                assert!((f64::from(found) / expected - 1.0).abs() < 2.5e-7, "exp({x}) = {found}, expected {expected}");
            }
            let ((cdf, pdf), (exact_cdf, exact_pdf)) = (normal_f32(x), normal_f64(f64::from(x)));
            assert!((f64::from(cdf) - exact_cdf).abs() < 3e-7, "the normal distribution at {x}");
            assert!((f64::from(pdf) - exact_pdf).abs() < 2e-7, "the normal density at {x}");
        }
        assert_eq!((exp_f32(f32::NEG_INFINITY), exp_f32(0.0), exp_f32(f32::INFINITY)), (0.0, 1.0, f32::INFINITY));
        assert!(exp_f32(f32::NAN).is_nan() && normal_f32(f32::NAN).0.is_nan() && normal_f32(f32::NAN).1.is_nan());
        // scipy.stats.norm.cdf(1), .pdf(1)
        let (cdf, pdf) = normal_f64(1.0);
        assert!((cdf - 0.841_344_746_068_542_9).abs() < 1e-15 && (pdf - 0.241_970_724_519_143_37).abs() < 1e-15);
    }
}
