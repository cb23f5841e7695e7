//! Models by name. Each model is a file and an entry in [`MODELS`].

mod basic_resnet;
mod blocks;
mod bottleneck_resnet;
mod cifar_resnet;
mod edge_cnn;
mod layered;
mod mlp;
mod quadratic;
mod residual;
mod spec;
mod speednet;
mod stages;
mod transformer;
mod vgg;
mod vit;
mod wide_resnet;

use std::sync::Arc;

pub use layered::{Layers, layered};
pub use spec::{Initialisation, ModelSpec, Task};

use crate::nn::{Node, ParamLayout, Pass};

/// A network: a function of weights, running statistics and a batch.
pub trait Model: Send + Sync {
    /// Specification with every default filled in.
    fn spec(&self) -> ModelSpec;

    /// Parameters, in name order.
    fn layout(&self) -> &Arc<ParamLayout>;

    /// Logits [batch, classes] of images [batch, channels, height, width], or [batch x length, classes] of tokens
    /// [batch, length].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn forward(&self, x: &Node, pass: &mut Pass<'_>) -> crate::Result<Node>;

    /// Multiply-adds of convolutions, linear layers and attention in the forward pass of one
    /// sample.
    fn forward_macs(&self) -> u64;
}

/// A model, or what is wrong with its specification, and the remedy.
pub type Built = Result<Box<dyn Model>, String>;

/// Registry entry of a model: name, description, keys, and constructor.
#[derive(Clone, Copy)]
pub struct ModelEntry {
    /// Name used in suites.
    pub name: &'static str,
    /// One-line description.
    pub about: &'static str,
    /// Keys of [`ModelSpec`] that apply to it.
    pub keys: &'static [&'static str],
    /// Builds it from the keys of a suite and the shape of the data.
    pub build: fn(&ModelSpec, Task) -> Built,
}

/// All models.
pub const MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "mlp",
        about: "fully connected layers with ReLU (hidden = [256, 128])",
        keys: &["hidden"],
        build: mlp::build,
    },
    ModelEntry {
        name: "resnet8",
        about: "CIFAR ResNet with one block per stage (width = 16)",
        keys: &["width", "init"],
        build: |s, t| cifar_resnet::build(1, s, t),
    },
    ModelEntry {
        name: "resnet20",
        about: "CIFAR ResNet of He et al. (2016), three blocks per stage (width = 16)",
        keys: &["width", "init"],
        build: |s, t| cifar_resnet::build(3, s, t),
    },
    ModelEntry {
        name: "resnet32",
        about: "CIFAR ResNet of He et al. (2016), five blocks per stage (width = 16)",
        keys: &["width", "init"],
        build: |s, t| cifar_resnet::build(5, s, t),
    },
    ModelEntry {
        name: "resnet18",
        about: "ResNet-18 with a stem for small images (width = 64)",
        keys: &["width", "init"],
        build: |s, t| basic_resnet::build([2, 2, 2, 2], s, t),
    },
    ModelEntry {
        name: "resnet34",
        about: "ResNet-34 with a stem for small images (width = 64)",
        keys: &["width", "init"],
        build: |s, t| basic_resnet::build([3, 4, 6, 3], s, t),
    },
    ModelEntry {
        name: "resnet50",
        about: "ResNet-50 with the ImageNet stem, stride on the 3x3 convolutions (width = 64)",
        keys: &["width", "init"],
        build: |s, t| bottleneck_resnet::build([3, 4, 6, 3], s, t),
    },
    ModelEntry {
        name: "wideresnet",
        about: "wide ResNet of Zagoruyko and Komodakis (2016), pre-activation (depth = 28, width = 10)",
        keys: &["depth", "width", "init"],
        build: wide_resnet::build,
    },
    ModelEntry {
        name: "vgg11-bn",
        about: "VGG-11 with BatchNorm on 32x32 (width = 64, hidden = [4096, 4096], dropout = 0.5)",
        keys: &["width", "hidden", "dropout", "init"],
        build: vgg::build,
    },
    ModelEntry {
        name: "vit",
        about: "small vision Transformer, patches of 4x4 (width = 192, depth = 9, heads = 12)",
        keys: &["width", "depth", "heads"],
        build: vit::build,
    },
    ModelEntry {
        name: "speednet",
        about: "eight layers that reach the most accuracy per second on a CPU (width = 64)",
        keys: &["width", "init"],
        build: speednet::build,
    },
    ModelEntry {
        name: "edge-mlp",
        about: "the MLP of Long and Bartlett (2024), Glorot normal (hidden = [1000, 1000, 1000])",
        keys: &["hidden"],
        build: mlp::build_edge,
    },
    ModelEntry {
        name: "edge-cnn",
        about: "the CNN with LayerNorm of Long and Bartlett (2024) (width = 16)",
        keys: &["width"],
        build: edge_cnn::build,
    },
    ModelEntry {
        name: "transformer",
        about: "pre-LN character Transformer of Long and Bartlett (2024) (width = 128, depth = 6, heads = 8)",
        keys: &["width", "depth", "heads"],
        build: transformer::build,
    },
    ModelEntry {
        name: "quadratic",
        about: "a quadratic function of the weights alone, for edges in closed form (curvatures = [10.0, 4.0, 1.0])",
        keys: &["curvatures"],
        build: quadratic::build,
    },
];

/// Builds one of [`MODELS`].
///
/// # Errors
/// Describes what is wrong with the specification, and the remedy.
pub fn build(spec: &ModelSpec, task: Task) -> Built {
    build_one_of(MODELS, spec, task)
}

/// Builds the model of these that a suite names.
pub(crate) fn build_one_of(models: &[ModelEntry], spec: &ModelSpec, task: Task) -> Built {
    let entry = models.iter().find(|m| m.name == spec.name).ok_or_else(|| {
        let names: Vec<_> = models.iter().map(|m| m.name).collect();
        format!("model.name = \"{}\" is not known; use one of {}", spec.name, names.join(", "))
    })?;
    // Keys that are not set are absent from the JSON form.
    let given = serde_json::to_value(spec).unwrap_or_default();
    let mut given = given.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).filter(|key| *key != "name");
    if let Some(key) = given.find(|key| !entry.keys.contains(key)) {
        let keys: Vec<_> = entry.keys.iter().map(|key| format!("model.{key}")).collect();
        return Err(format!("model.{key} does not apply to {}; use {}", spec.name, keys.join(", ")));
    }
    (entry.build)(spec, task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Input;
    use crate::data::text::{LENGTH, VOCABULARY};

    const TEXT: Input = Input::Tokens { length: LENGTH, vocabulary: VOCABULARY };

    fn spec(json: serde_json::Value) -> ModelSpec {
        serde_json::from_value(json).expect("a valid specification")
    }

    fn sizes(json: serde_json::Value, input: Input, classes: usize) -> (usize, u64) {
        let model = build(&spec(json), Task { input, classes }).expect("a model");
        (model.layout().len(), model.forward_macs())
    }

    #[test]
    fn sizes_are_the_published_ones() {
        let cifar = |json, classes| sizes(json, Input::Image([3, 32, 32]), classes);
        // He et al. (2016): ResNet-20 has 0.27 M parameters, 40.8 M multiply-adds.
        assert_eq!(cifar(serde_json::json!({"name": "resnet20", "width": 16}), 10), (269_722, 40_551_040));
        assert_eq!(cifar(serde_json::json!({"name": "resnet32", "width": 16}), 10), (464_154, 68_862_592));
        assert_eq!(cifar(serde_json::json!({"name": "resnet8", "width": 16}), 10), (75_290, 12_239_488));
        assert_eq!(cifar(serde_json::json!({"name": "mlp", "hidden": [256, 128]}), 10), (820_874, 820_480));
        // The models of Mi et al. (2022), as their code builds them.
        assert_eq!(cifar(serde_json::json!({"name": "resnet18"}), 10), (11_173_962, 555_422_720));
        assert_eq!(cifar(serde_json::json!({"name": "resnet18"}), 100).0, 11_220_132);
        assert_eq!(cifar(serde_json::json!({"name": "resnet34"}), 10), (21_282_122, 1_159_402_496));
        assert_eq!(cifar(serde_json::json!({"name": "wideresnet"}), 10), (36_479_194, 5_243_328_768));
        assert_eq!(cifar(serde_json::json!({"name": "wideresnet"}), 100).0, 36_536_884);
        assert_eq!(cifar(serde_json::json!({"name": "vgg11-bn"}), 10), (28_149_514, 171_679_744));
        // torchvision's resnet50.
        let imagenet = Input::Image([3, 224, 224]);
        assert_eq!(sizes(serde_json::json!({"name": "resnet50"}), imagenet, 1000), (25_557_032, 4_089_184_256));
        // Long and Bartlett (2024).
        assert_eq!(
            sizes(serde_json::json!({"name": "edge-mlp"}), Input::Image([1, 28, 28]), 10),
            (2_797_010, 2_794_000)
        );
        assert_eq!(cifar(serde_json::json!({"name": "edge-cnn"}), 10), (25_674, 1_642_496));
        // By hand, attention: 64 tokens x (4 x 256 + 8 x 128) x 128 and twice 64 x 64 x 256, six times; the head.
        let macs = 6 * (64 * 2048 * 128 + 2 * 64 * 64 * 256) + 64 * 128 * 128;
        assert_eq!(sizes(serde_json::json!({"name": "transformer"}), TEXT, VOCABULARY), (1_626_496, macs));
        // Counted by PyTorch; by hand: patches, nine blocks, the head.
        let macs = 64 * 48 * 192 + 9 * (64 * 192 * (4 * 192 + 4 * 192) + 2 * 64 * 64 * 192) + 1920;
        assert_eq!(cifar(serde_json::json!({"name": "vit"}), 10), (2_697_226, macs));
        assert_eq!(cifar(serde_json::json!({"name": "speednet"}), 10), (1_978_026, 151_882_240));
    }

    /// He et al. (2015), equation 14: convolutions have variance 2 / (k^2 c_out), 2.45^2 times PyTorch's 1 / (3 k^2 c_in) where the
    /// channels do not change; biases are 0, and BatchNorm and linear weights as before.
    #[test]
    fn kaiming_fan_out_changes_convolutions_and_biases_alone() {
        let task = Task { input: Input::Image([3, 32, 32]), classes: 10 };
        let drawn = |json| {
            let model = build(&spec(json), task).expect("a model");
            let values = model.layout().init(7);
            let specs = model.layout().specs();
            specs.iter().map(|s| (s.name.clone(), s.shape.clone(), values[s.range()].to_vec())).collect::<Vec<_>>()
        };
        let ours = drawn(serde_json::json!({"name": "wideresnet", "depth": 10, "width": 2}));
        let theirs =
            drawn(serde_json::json!({"name": "wideresnet", "depth": 10, "width": 2, "init": "kaiming-fan-out"}));
        for ((name, shape, ours), (_, _, theirs)) in ours.iter().zip(&theirs) {
            match shape.as_slice() {
                [c_out, c_in, k, _] => {
                    let variance = theirs.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / theirs.len() as f64;
                    let expected = 2.0 / (k * k * c_out) as f64;
                    // Six standard errors of a variance.
                    let error = 6.0 * (2.0 / theirs.len() as f64).sqrt();
                    assert!((variance / expected - 1.0).abs() < error, "{name}: {variance}, not {expected} ({c_in})");
                }
                [_] if name == "fc.bias" => assert!(theirs.iter().all(|b| *b == 0.0) && ours.iter().any(|b| *b != 0.0)),
                _ => assert_eq!(ours, theirs, "{name}"),
            }
        }
    }

    #[test]
    fn a_wrong_specification_is_explained() {
        let error = |json| {
            let task = Task { input: Input::Image([3, 32, 32]), classes: 10 };
            build(&spec(json), task).err().expect("an error")
        };
        insta::assert_snapshot!(error(serde_json::json!({"name": "resnet9"})), @r#"model.name = "resnet9" is not known; use one of mlp, resnet8, resnet20, resnet32, resnet18, resnet34, resnet50, wideresnet, vgg11-bn, vit, speednet, edge-mlp, edge-cnn, transformer, quadratic"#);
        insta::assert_snapshot!(error(serde_json::json!({"name": "mlp", "width": 3})), @"model.width does not apply to mlp; use model.hidden");
        insta::assert_snapshot!(error(serde_json::json!({"name": "resnet8", "width": 0})), @"model.width = 0 must be even and from 2 to 1024 (channels are padded on both sides)");
        insta::assert_snapshot!(error(serde_json::json!({"name": "wideresnet", "depth": 27})), @"model.depth = 27 must be 6 n + 4 with n of 1 or more; use 10, 16, 22, 28 or 40");
        insta::assert_snapshot!(error(serde_json::json!({"name": "vgg11-bn", "dropout": 1.0})), @"model.dropout = 1 must be at least 0 and below 1");
        insta::assert_snapshot!(error(serde_json::json!({"name": "vit", "heads": 5})), @"model.heads = 5 does not divide model.width = 192; use a divisor");
        insta::assert_snapshot!(error(serde_json::json!({"name": "transformer"})), @r#"model transformer reads text, the data are images; use data.name = "shakespeare""#);
        let task = Task { input: TEXT, classes: VOCABULARY };
        insta::assert_snapshot!(build(&spec(serde_json::json!({"name": "resnet18"})), task).err().expect("an error"), @r#"model resnet18 reads images, the data are text; use model.name = "transformer""#);
        let task = Task { input: Input::Image([3, 28, 28]), classes: 10 };
        insta::assert_snapshot!(build(&spec(serde_json::json!({"name": "vgg11-bn"})), task).err().expect("an error"), @"model vgg11-bn reads images of 32x32, the data have 28x28");
        let task = Task { input: Input::Image([3, 30, 30]), classes: 10 };
        insta::assert_snapshot!(build(&spec(serde_json::json!({"name": "vit"})), task).err().expect("an error"), @"model vit reads patches of 4x4, which do not tile the data's images of 30x30");
    }
}
