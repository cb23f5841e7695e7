//! Token and position embeddings.

use rayon::prelude::*;

use super::simd::Scalar;

pub(crate) fn embedding<T: Scalar>(weight: &[T], width: usize, tokens: &[u32]) -> Vec<T> {
    let mut y = vec![T::zero(); tokens.len() * width];
    y.par_chunks_mut(width)
        .zip(tokens)
        .for_each(|(y, token)| y.copy_from_slice(&weight[*token as usize * width..][..width]));
    y
}

pub(crate) fn embedding_backward<T: Scalar>(dy: &[T], width: usize, tokens: &[u32], dw: &mut [T]) {
    dw.fill(T::zero());
    for (dy, token) in dy.chunks_exact(width).zip(tokens) {
        let row = &mut dw[*token as usize * width..][..width];
        row.iter_mut().zip(dy).for_each(|(sum, d)| *sum += *d);
    }
}

pub(crate) fn positions<T: Scalar>(x: &[T], table: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    y.par_chunks_mut(table.len()).for_each(|sample| sample.iter_mut().zip(table).for_each(|(y, p)| *y += *p));
    y
}

pub(crate) fn positions_backward<T: Scalar>(dy: &[T], dtable: &mut [T]) {
    dtable.fill(T::zero());
    for sample in dy.chunks_exact(dtable.len()) {
        dtable.iter_mut().zip(sample).for_each(|(sum, d)| *sum += *d);
    }
}
