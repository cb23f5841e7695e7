//! A fixed amount of work that no kernel does, as a measure of the machine's speed: a step that takes longer beside it has become slower,
//! whatever else the machine does. It must never be optimised.

use std::hint::black_box;

/// Side of the square matrices, which fit into a core's own cache.
const SIDE: usize = 96;
/// Products of matrices.
const PRODUCTS: usize = 40;
/// Numbers of a pass over memory beyond that cache.
const MEMORY: usize = 1 << 21;

/// Does the work once on every compute thread; ten milliseconds or so.
pub fn reference_work() {
    rayon::broadcast(|_| {
        let a: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 7) as f32).collect();
        let mut b = vec![0f32; SIDE * SIDE];
        for _ in 0..PRODUCTS {
            for (row, out) in b.chunks_exact_mut(SIDE).enumerate() {
                for (place, line) in black_box(&a).chunks_exact(SIDE).enumerate() {
                    let factor = a[row * SIDE + place];
                    out.iter_mut().zip(line).for_each(|(out, value)| *out += factor * value);
                }
            }
            black_box(&mut b);
        }
        let memory = black_box(vec![1f32; MEMORY]);
        black_box(memory.iter().sum::<f32>());
    });
}
