//! Public generic kernels, each compiled here for f32 and f64 (see the crate documentation).

use super::{
    AttentionShape, ConvShape, FlopCount, InputGrad, LayerNormGrad, Line, LinearShape, Measure, Moments, PoolShape,
    RowStats, Scalar, Source, WeightGrad,
};

/// Expands each line `module::name(arguments) -> result`, where `T` is the value type, to a method
/// of [`Kernels`] that calls the implementation in `module`, and a public function that calls the
/// method.
macro_rules! kernels {
    ($($(#[$doc:meta])* $module:ident::$name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// Private, so that no other type can implement it.
        mod sealed {
            use super::*;

            /// Kernels of value type `T`, which implements this trait for itself.
            pub trait Kernels<T> {
                $($(#[$doc])* fn $name($($argument: $type),*) $(-> $result)?;)*
            }
        }
        pub(super) use sealed::Kernels;

        const _: () = {
            type T = f32;
            impl Kernels<T> for T {
                $(#[inline(never)] fn $name($($argument: $type),*) $(-> $result)? {
                    super::$module::$name::<T>($($argument),*)
                })*
            }
        };

        const _: () = {
            type T = f64;
            impl Kernels<T> for T {
                $(#[inline(never)] fn $name($($argument: $type),*) $(-> $result)? {
                    super::$module::$name::<T>($($argument),*)
                })*
            }
        };

        $($(#[$doc])* pub fn $name<T: Scalar>($($argument: $type),*) $(-> $result)? {
            <T as Kernels<T>>::$name($($argument),*)
        })*
    };
}

kernels! {
    /// Materialises the values of a source.
    activation::values(x: &Source<'_, T>, channels: usize) -> Vec<T>;
    /// Computes `max(x, 0)`.
    activation::relu(x: &[T]) -> Vec<T>;
    /// Gradient of a ReLU with output `y` [pixels, channels], with its moments if requested.
    activation::relu_backward(
        y: &[T], dy: &[T], channels: usize, measure: Measure<'_, T>
    ) -> (Vec<T>, Option<Moments>);
    /// Computes `x Phi(x)` with the standard normal CDF Phi (Hendrycks and Gimpel, 2016).
    activation::gelu(x: &[T]) -> Vec<T>;
    /// Gradient of [`gelu`]: `dy (Phi(x) + x phi(x))`.
    activation::gelu_backward(x: &[T], dy: &[T]) -> Vec<T>;
    /// Computes `a + b`.
    activation::add(a: &[T], b: &[T]) -> Vec<T>;
    /// Computes `a + b`, followed by `max(., 0)` if `relu`.
    activation::sum(a: &Source<'_, T>, b: &Source<'_, T>, channels: usize, relu: bool) -> Vec<T>;

    /// Maps queries, keys and values [batch, tokens, 3, heads, size] to outputs [batch, tokens,
    /// heads, size].
    attention::attention(s: &AttentionShape, qkv: &[T], flops: &FlopCount) -> Vec<T>;
    /// Gradient of queries, keys and values from that of the outputs.
    attention::attention_backward(s: &AttentionShape, qkv: &[T], dy: &[T], flops: &FlopCount) -> Vec<T>;

    /// Maps `x` [batch, h, w, c_in] and `w` [c_out, c_in, k, k] to [batch, oh, ow, c_out], with its
    /// moments if requested.
    conv::conv2d(
        s: &ConvShape, x: &Source<'_, T>, w: &[T], measure: bool, flops: &FlopCount
    ) -> (Vec<T>, Option<Moments>);
    /// Computes the requested gradients from `dy` [batch, oh, ow, c_out]. Writes the weight
    /// gradient, summed over the batch in a fixed order; returns the input gradient [batch, h, w,
    /// c_in] and its moments.
    conv::conv2d_backward(
        s: &ConvShape, dy: &Source<'_, T>, weight: Option<WeightGrad<'_, T>>, input: Option<InputGrad<'_, T>>,
        flops: &FlopCount
    ) -> Option<(Vec<T>, Option<Moments>)>;

    /// Returns `[batch, n]` with every row the elementwise product `factors w`.
    diagonal::diagonal(w: &[T], factors: &[T], batch: usize) -> Vec<T>;
    /// Writes the gradient of `w` in [`diagonal`].
    diagonal::diagonal_backward(dy: &[T], factors: &[T], dw: &mut [T]);

    /// Returns `scale x` where `kept`, else 0. Computes both dropout and its gradient.
    dropout::dropout(x: &[T], kept: &[bool], scale: T) -> Vec<T>;

    /// Looks up the rows of `weight` [vocabulary, width] for `tokens`, which must all be in the
    /// vocabulary: [tokens, width].
    embedding::embedding(weight: &[T], width: usize, tokens: &[u32]) -> Vec<T>;
    /// Writes the weight gradient of [`embedding`].
    embedding::embedding_backward(dy: &[T], width: usize, tokens: &[u32], dw: &mut [T]);
    /// Adds `table` [positions, width] to each sample of `x` [batch, positions, width].
    embedding::positions(x: &[T], table: &[T]) -> Vec<T>;
    /// Writes the table gradient of [`positions`].
    embedding::positions_backward(dy: &[T], dtable: &mut [T]);

    /// Computes `gamma (x - mean) / sqrt(variance + eps) + beta` for rows of gamma's length, and
    /// the row statistics.
    layer_norm::layer_norm(x: &[T], gamma: &[T], beta: &[T], eps: f64) -> (Vec<T>, Vec<RowStats>);
    /// Gradients of `layer_norm`. With xhat the normalised row and d = gamma dy:
    /// dx = (d - mean(d) - xhat mean(d xhat)) / sqrt(variance + eps).
    layer_norm::layer_norm_backward(x: &[T], dy: &[T], gamma: &[T], rows: &[RowStats]) -> LayerNormGrad<T>;

    /// Computes `y = x W^T + b` for `x` [rows, d_in], `weight` [d_out, d_in] and `bias` `[d_out]`.
    linear::linear(s: &LinearShape, x: &[T], weight: &[T], bias: &[T], flops: &FlopCount) -> Vec<T>;
    /// Writes the weight gradient of [`linear`], [d_out, d_in], or only its rows for the output
    /// channels `live`.
    linear::linear_weight_grad(
        s: &LinearShape, x: &[T], dy: &[T], live: Option<&[usize]>, dw: &mut [T], flops: &FlopCount
    );
    /// Writes the bias gradient of [`linear`]: the sum of the rows of `dy`.
    linear::linear_bias_grad(dy: &[T], db: &mut [T]);
    /// Input gradient of [`linear`].
    linear::linear_input_grad(s: &LinearShape, dy: &[T], weight: &[T], flops: &FlopCount) -> Vec<T>;

    /// Per-sample losses, the sum over the classes of `-target log softmax(logits)`, of `logits` [batch, classes], with
    /// `target = (1 - smoothing) one_hot + smoothing / classes`.
    loss::cross_entropy(logits: &[T], labels: &[u32], classes: usize, smoothing: f64) -> Vec<f64>;
    /// Gradient of `scale` times the summed loss: `scale (softmax - target)`.
    loss::cross_entropy_backward(
        logits: &[T], labels: &[u32], classes: usize, smoothing: f64, scale: f64
    ) -> Vec<T>;
    /// Per-sample losses `sum over classes of (logit - one_hot)^2 / classes`.
    loss::squared_error(logits: &[T], labels: &[u32], classes: usize) -> Vec<f64>;
    /// Gradient of `scale` times the summed loss: `2 scale (logits - one_hot) / classes`.
    loss::squared_error_backward(logits: &[T], labels: &[u32], classes: usize, scale: f64) -> Vec<T>;

    /// Per-channel sums of x and x^2.
    moments::moments(x: &[T], channels: usize) -> Moments;
    /// Per-channel sums of d and d x, where d is `dy`, or 0 where the ReLU after `gate` blocked the
    /// value.
    moments::gradient_moments(dy: &[T], x: &[T], channels: usize, gate: Option<Line<'_, T>>) -> Moments;

    /// Maximum of each window and its index in the window.
    pool::max_pool2d(s: &PoolShape, x: &[T]) -> (Vec<T>, Vec<u8>);
    /// Input gradient of [`max_pool2d`]: each value goes to the winner of its window.
    pool::max_pool2d_backward(s: &PoolShape, winners: &[u8], dy: &[T]) -> Vec<T>;
    /// Mean of each window.
    pool::avg_pool2d(s: &PoolShape, x: &[T]) -> Vec<T>;
    /// Input gradient of [`avg_pool2d`].
    pool::avg_pool2d_backward(s: &PoolShape, dy: &[T]) -> Vec<T>;
    /// Mean over the pixels of each image: [batch, pixels, channels] -> [batch, channels].
    pool::global_avg_pool(x: &[T], pixels: usize, channels: usize) -> Vec<T>;
    /// Input gradient of [`global_avg_pool`].
    pool::global_avg_pool_backward(dy: &[T], pixels: usize, channels: usize) -> Vec<T>;
    /// Shortcut of He et al. (2016), option A: subsamples rows and columns by 2 and pads the
    /// channels with zeros equally on both sides. `dims` = [batch, height, width, c_in] of the
    /// input.
    pool::shortcut(x: &[T], dims: [usize; 4], c_out: usize) -> Vec<T>;
    /// Input gradient of [`shortcut`]; `dims` are the input's.
    pool::shortcut_backward(dy: &[T], dims: [usize; 4], c_out: usize) -> Vec<T>;

    /// Transposes images [batch, c, pixels] to [batch, pixels, c].
    shape::channels_last(x: &[T], channels: usize, pixels: usize) -> Vec<T>;

    /// Sets `values` to 0.
    vector::clear(values: &mut [T]);
    /// Adds `values` to `sum`.
    vector::accumulate(sum: &mut [T], values: &[T]);
    /// Adds `scale values` to `sum`.
    vector::accumulate_scaled(sum: &mut [T], values: &[T], scale: T);
    /// Adds the squares of `values` to `sum`.
    vector::accumulate_squares(sum: &mut [T], values: &[T]);
    /// Multiplies `values` by `scale`.
    vector::scale(values: &mut [T], scale: T);
}
