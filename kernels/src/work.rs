//! A fixed amount of work, as a measure of the machine's speed: a step that takes longer beside it has become slower, whatever else the
//! machine does. It is what steps mostly do, products of matrices and passes over memory, through the gemm crate alone: no kernel of this
//! package can make it slower, and it must never be optimised.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::gemm::{MatMut, MatRef, gemm};

/// Side of the square matrices.
const SIDE: usize = 192;
/// Products of matrices.
const PRODUCTS: usize = 24;
/// Numbers of a pass over memory beyond a core's own cache.
const MEMORY: usize = 1 << 20;

/// Does the work once on every compute thread; how long that took, some ten milliseconds.
pub fn reference_work() -> Duration {
    // Threads that sleep would have to be woken first.
    rayon::broadcast(|_| black_box(()));
    let start = Instant::now();
    rayon::broadcast(|_| {
        let [a, b] = [7, 5].map(|cycle| (0..SIDE * SIDE).map(|i| (i % cycle) as f32).collect::<Vec<f32>>());
        let mut out = vec![0f32; SIDE * SIDE];
        for _ in 0..PRODUCTS {
            let out = MatMut { data: &mut out, rows: SIDE, cols: SIDE };
            gemm(out, MatRef::new(black_box(&a), SIDE, SIDE), MatRef::new(&b, SIDE, SIDE), false);
        }
        let memory = black_box(vec![1f32; MEMORY]);
        black_box(memory.iter().sum::<f32>() + black_box(&out)[0]);
    });
    start.elapsed()
}
