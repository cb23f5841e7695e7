//! Every case under tests/parity/cases agrees with PyTorch. The oracle is tests/parity/make_cases.py.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use sharpbench::Registry;
use sharpbench::compute::Compute;

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/cases");
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("the cases").map(|e| e.expect("an entry").path()).collect();
    cases.sort();
    cases
}

/// The optimizer of a case.
fn optimizer(case: &Path) -> String {
    let bytes = std::fs::read(case).expect("a case");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let optimizer = &header.metadata().as_ref().expect("metadata")["optimizer"];
    let optimizer: Value = serde_json::from_str(optimizer).expect("JSON");
    optimizer["optimizer"].as_str().expect("a name").to_string()
}

#[test]
fn every_optimizer_has_a_case() {
    let covered: BTreeSet<String> = cases().iter().map(|case| optimizer(case)).collect();
    for entry in Registry::standard().optimizers() {
        // Cases give the mask, whatever chooses it in a training.
        let name = if entry.masks.is_some() { "ssam" } else { entry.name };
        assert!(covered.contains(name), "{name} has no case; see docs/parity.md");
    }
}

#[test]
fn every_case_agrees_with_pytorch() {
    let cases = cases();
    assert!(cases.len() >= 48, "every norm and pattern, every model family, curvature; see docs/parity.md");
    let mut curvatures = 0;
    for case in cases {
        let comparison = sharpbench::parity::replay(&case, Compute::CPU, &Registry::standard()).expect("a valid case");
        println!("{}: worst {:?}", case.display(), comparison.worst());
        assert!(comparison.steps >= 2);
        assert!(comparison.passes(), "{}: {:?}", case.display(), comparison.worst());
        curvatures += usize::from(comparison.errors.contains_key("eigenvalue"));
    }
    assert_eq!(curvatures, 6);
}

/// Replays the cases with candle's operations, which GPUs compute with: on the CPU, and on a GPU where there is one.
#[test]
fn every_case_agrees_on_every_device() {
    for compute in Compute::all_by_candle() {
        for case in cases() {
            let comparison = sharpbench::parity::replay(&case, &compute, &Registry::standard()).expect("a valid case");
            println!("{:?} {}: worst {:?}", compute.gpu(), case.display(), comparison.worst());
            assert!(comparison.passes(), "{:?} {}: {:?}", compute.gpu(), case.display(), comparison.worst());
        }
    }
}
