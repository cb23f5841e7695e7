//! A network of your own, trained by name like any other:
//!
//!     cargo run --example own_model -- suite examples/own_model.toml

use std::process::ExitCode;

use sharpbench::Registry;
use sharpbench::model::{Built, Layers, ModelEntry, ModelSpec, Task, layered};
use sharpbench::nn::{BatchNorm, Conv2d, Kernel, Linear, Node, ParamsBuilder, Pass, channels_last, global_avg_pool};

/// Two 3x3 convolutions, the second one with stride 2, each followed by BatchNorm with ReLU; then the mean over the pixels and a
/// linear layer.
struct TwoConvolutions {
    blocks: [(Conv2d, BatchNorm); 2],
    head: Linear,
}

/// Each constructor declares its parameters and multiply-adds, and turns the shape `x` of its input into that of its output.
fn build(spec: &ModelSpec, task: Task) -> Built {
    let width = spec.width(8)?;
    let mut params = ParamsBuilder::default();
    let mut x = task.image(spec)?;
    let blocks = [1, 2].map(|n| {
        let conv = Conv2d::new(&mut params, &format!("conv{n}"), &mut x, width, Kernel::centred(3).stride(n));
        (conv, BatchNorm::new(&mut params, &format!("norm{n}"), width, true))
    });
    let head = Linear::new(&mut params, "head", &mut x.pooled_globally(), task.classes);
    Ok(layered(ModelSpec { width: Some(width), ..spec.clone() }, params, TwoConvolutions { blocks, head }))
}

impl Layers for TwoConvolutions {
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> sharpbench::Result<Node> {
        let mut x = channels_last(x, pass)?;
        for (conv, norm) in &self.blocks {
            x = norm.forward(&conv.forward(&x, pass)?, pass)?;
        }
        self.head.forward(&global_avg_pool(&x, pass)?, pass)
    }
}

fn main() -> ExitCode {
    let about = "two convolutions with BatchNorm (width = 8)";
    let entry = ModelEntry { name: "two-convolutions", about, keys: &["width"], build };
    sharpbench::run(&Registry::standard().with_model(entry))
}
