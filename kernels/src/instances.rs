//! The public generic kernels, each compiled here for f32 and f64 (see the package's documentation).

use super::{
    AttentionShape, ConvShape, FlopCount, InputGrad, LayerNormGrad, Line, LinearShape, Measure, Moments, PoolShape,
    RowStats, Scalar, Source, WeightGrad,
};

/// Makes of each line `module::name(arguments) -> result`, in which `T` is the type of the values, a method of
/// [`Kernels`] that calls the implementation in `module`, and a public function that calls the method.
macro_rules! kernels {
    ($($(#[$doc:meta])* $module:ident::$name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// Private, so that no other type can implement it.
        mod sealed {
            use super::*;

            /// The kernels of values of type `T`, which implements this trait for itself.
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
    /// The values of a source, written out.
    activation::values(x: &Source<'_, T>, channels: usize) -> Vec<T>;
    /// `max(x, 0)`.
    activation::relu(x: &[T]) -> Vec<T>;
    /// The gradient of a ReLU whose output, [pixels, channels], was `y`; and its moments, if they are asked for.
    activation::relu_backward(
        y: &[T], dy: &[T], channels: usize, measure: Measure<'_, T>
    ) -> (Vec<T>, Option<Moments>);
    /// `x Phi(x)`, Phi being the standard normal distribution's function (Hendrycks and Gimpel, 2016).
    activation::gelu(x: &[T]) -> Vec<T>;
    /// The gradient of [`gelu`]: `dy (Phi(x) + x phi(x))`.
    activation::gelu_backward(x: &[T], dy: &[T]) -> Vec<T>;
    /// `a + b`.
    activation::add(a: &[T], b: &[T]) -> Vec<T>;
    /// `a + b`, and of that `max(., 0)` where `relu`.
    activation::sum(a: &Source<'_, T>, b: &Source<'_, T>, channels: usize, relu: bool) -> Vec<T>;

    /// From queries, keys and values [batch, tokens, 3, heads, size] to outputs [batch, tokens, heads, size] and the
    /// weights of the attention [batch, heads, tokens, tokens].
    attention::attention(s: &AttentionShape, qkv: &[T], flops: &FlopCount) -> (Vec<T>, Vec<T>);
    /// The gradient of queries, keys and values from that of the outputs.
    attention::attention_backward(
        s: &AttentionShape, qkv: &[T], weights: &[T], dy: &[T], flops: &FlopCount
    ) -> Vec<T>;

    /// `x` [batch, h, w, c_in], `w` [c_out, c_in, k, k] -> [batch, oh, ow, c_out], and its moments if they are asked for.
    conv::conv2d(
        s: &ConvShape, x: &Source<'_, T>, w: &[T], measure: bool, flops: &FlopCount
    ) -> (Vec<T>, Option<Moments>);
    /// Gradients from `dy` [batch, oh, ow, c_out], those that are wanted. Writes that of the weight, summed over the batch
    /// in a fixed order; returns that of the input [batch, h, w, c_in] and its moments.
    conv::conv2d_backward(
        s: &ConvShape, dy: &Source<'_, T>, weight: Option<WeightGrad<'_, T>>, input: Option<InputGrad<'_, T>>,
        flops: &FlopCount
    ) -> Option<(Vec<T>, Option<Moments>)>;

    /// `[batch, n]` whose rows are all `factors w`, entry by entry.
    diagonal::diagonal(w: &[T], factors: &[T], batch: usize) -> Vec<T>;
    /// Writes the gradient of [`diagonal`]'s `w`.
    diagonal::diagonal_backward(dy: &[T], factors: &[T], dw: &mut [T]);

    /// `scale x` where `kept`, else 0: dropout, and its gradient.
    dropout::dropout(x: &[T], kept: &[bool], scale: T) -> Vec<T>;

    /// The rows of `weight` [vocabulary, width] that `tokens` name, all in the vocabulary: [tokens, width].
    embedding::embedding(weight: &[T], width: usize, tokens: &[u32]) -> Vec<T>;
    /// Writes the gradient of [`embedding`]'s weight.
    embedding::embedding_backward(dy: &[T], width: usize, tokens: &[u32], dw: &mut [T]);
    /// `table` [positions, width] added to each sample of `x` [batch, positions, width].
    embedding::positions(x: &[T], table: &[T]) -> Vec<T>;
    /// Writes the gradient of [`positions`]' table.
    embedding::positions_backward(dy: &[T], dtable: &mut [T]);

    /// `gamma (x - mean) / sqrt(variance + eps) + beta` of rows as long as gamma, and the rows' statistics.
    layer_norm::layer_norm(x: &[T], gamma: &[T], beta: &[T], eps: f64) -> (Vec<T>, Vec<RowStats>);
    /// With xhat the normalised row and d = gamma dy: dx = (d - mean(d) - xhat mean(d xhat)) / sqrt(variance + eps).
    layer_norm::layer_norm_backward(x: &[T], dy: &[T], gamma: &[T], rows: &[RowStats]) -> LayerNormGrad<T>;

    /// `y = x W^T + b` of `x` [rows, d_in], `weight` [d_out, d_in] and `bias` `[d_out]`.
    linear::linear(s: &LinearShape, x: &[T], weight: &[T], bias: &[T], flops: &FlopCount) -> Vec<T>;
    /// Writes the gradient of [`linear`]'s weight, [d_out, d_in], or of the rows of the output channels `live` alone.
    linear::linear_weight_grad(
        s: &LinearShape, x: &[T], dy: &[T], live: Option<&[usize]>, dw: &mut [T], flops: &FlopCount
    );
    /// Writes the gradient of [`linear`]'s bias: the sum of the rows of `dy`.
    linear::linear_bias_grad(dy: &[T], db: &mut [T]);
    /// The gradient of [`linear`]'s input.
    linear::linear_input_grad(s: &LinearShape, dy: &[T], weight: &[T], flops: &FlopCount) -> Vec<T>;

    /// Per-sample losses `-log softmax(logits)[label]` of `logits` [batch, classes].
    loss::cross_entropy(logits: &[T], labels: &[u32], classes: usize) -> Vec<f64>;
    /// The gradient of `scale` times the summed loss: `scale (softmax - one_hot)`.
    loss::cross_entropy_backward(logits: &[T], labels: &[u32], classes: usize, scale: f64) -> Vec<T>;
    /// Per-sample losses `sum over classes of (logit - one_hot)^2 / classes`.
    loss::squared_error(logits: &[T], labels: &[u32], classes: usize) -> Vec<f64>;
    /// The gradient of `scale` times the summed loss: `2 scale (logits - one_hot) / classes`.
    loss::squared_error_backward(logits: &[T], labels: &[u32], classes: usize, scale: f64) -> Vec<T>;

    /// By channel, the sums of x and x^2.
    moments::moments(x: &[T], channels: usize) -> Moments;
    /// By channel, the sums of d and d x, where d is `dy`, or 0 where `gate` and its ReLU stopped the value.
    moments::gradient_moments(dy: &[T], x: &[T], channels: usize, gate: Option<Line<'_, T>>) -> Moments;

    /// The largest value of each window, and its place there.
    pool::max_pool2d(s: &PoolShape, x: &[T]) -> (Vec<T>, Vec<u8>);
    /// The gradient of [`max_pool2d`]'s input: each value to the winner of its window.
    pool::max_pool2d_backward(s: &PoolShape, winners: &[u8], dy: &[T]) -> Vec<T>;
    /// The mean of each window.
    pool::avg_pool2d(s: &PoolShape, x: &[T]) -> Vec<T>;
    /// The gradient of [`avg_pool2d`]'s input.
    pool::avg_pool2d_backward(s: &PoolShape, dy: &[T]) -> Vec<T>;
    /// Mean over the pixels of each image: [batch, pixels, channels] -> [batch, channels].
    pool::global_avg_pool(x: &[T], pixels: usize, channels: usize) -> Vec<T>;
    /// The gradient of [`global_avg_pool`]'s input.
    pool::global_avg_pool_backward(dy: &[T], pixels: usize, channels: usize) -> Vec<T>;
    /// The shortcut of He et al. (2016), option A: every second pixel of every second row, the channels padded with zeros
    /// equally on both sides. `dims` = [batch, height, width, c_in] of the input.
    pool::shortcut(x: &[T], dims: [usize; 4], c_out: usize) -> Vec<T>;
    /// The gradient of [`shortcut`]'s input; `dims` are the input's.
    pool::shortcut_backward(dy: &[T], dims: [usize; 4], c_out: usize) -> Vec<T>;

    /// Images [batch, c, pixels] to [batch, pixels, c].
    shape::channels_last(x: &[T], channels: usize, pixels: usize) -> Vec<T>;

    /// Adds `values` to `sum`.
    vector::accumulate(sum: &mut [T], values: &[T]);
    /// Adds `scale values` to `sum`.
    vector::accumulate_scaled(sum: &mut [T], values: &[T], scale: T);
    /// Adds the squares of `values` to `sum`.
    vector::accumulate_squares(sum: &mut [T], values: &[T]);
    /// Multiplies `values` by `scale`.
    vector::scale(values: &mut [T], scale: T);
}
