//! Reductions of contiguous values in as many lanes on every CPU, so that the order of a sum does not depend on the vector width.
//! Inlined into callers, which dispatch to the CPU's instruction set.

use num_traits::NumAssign;

/// Partial results that run side by side.
pub(super) const LANES: usize = 16;

/// Folds `values` into each lane from `start`, then joins the lanes in order.
#[inline(always)]
pub(super) fn fold<V: Copy, A: Copy>(values: &[V], start: A, f: impl Fn(A, V) -> A, join: impl Fn(A, A) -> A) -> A {
    let mut lanes = [start; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane = f(*lane, *value));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane = f(*lane, *value));
    lanes.into_iter().fold(start, join)
}

/// Sum of `f(value)`.
#[inline(always)]
pub(super) fn sum<V: Copy, A: NumAssign + Copy>(values: &[V], f: impl Fn(V) -> A) -> A {
    fold(values, A::zero(), |sum, value| sum + f(value), |a, b| a + b)
}

/// Sum of `f(a, b)` over the pairs of two equally long slices.
#[inline(always)]
pub(super) fn sum_of_pairs<V: Copy, A: NumAssign + Copy>(a: &[V], b: &[V], f: impl Fn(V, V) -> A) -> A {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [A::zero(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let add = |(lane, (a, b)): (&mut A, (&V, &V))| *lane += f(*a, *b);
    for (a, b) in a.iter().zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(add);
    }
    lanes.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(add);
    lanes.into_iter().fold(A::zero(), |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_counts_once() {
        for n in [0, 1, 15, 16, 17, 33] {
            let values: Vec<u64> = (1..=n).collect();
            assert_eq!(sum(&values, |v| v), n * (n + 1) / 2);
            assert_eq!(sum_of_pairs(&values, &values, |a, b| a * b), n * (n + 1) * (2 * n + 1) / 6);
            assert_eq!(fold(&values, 0, u64::max, u64::max), n);
        }
    }
}
