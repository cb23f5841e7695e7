//! Every case under tests/parity/cases agrees with PyTorch. The oracle is tests/parity/make_cases.py.

use std::path::PathBuf;

use sharpbench::compute::Compute;

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/cases");
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("the cases").map(|e| e.expect("an entry").path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_agrees_with_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 43, "every optimizer, norm and pattern, every model family, curvature; see docs/parity.md");
    let mut curvatures = 0;
    for case in cases {
        let comparison = sharpbench::parity::replay(&case, Compute::CPU, &sharpbench::optim::Registry::standard())
            .expect("a valid case");
        println!("{}: worst {:?}", case.display(), comparison.worst());
        assert!(comparison.steps >= 2);
        assert!(comparison.passes(), "{}: {:?}", case.display(), comparison.worst());
        curvatures += usize::from(comparison.errors.contains_key("eigenvalue"));
    }
    assert_eq!(curvatures, 6);
}

/// The same by candle's operations, which GPUs compute with: on the CPU, and on a GPU where there is one.
#[test]
fn every_case_agrees_on_every_device() {
    for compute in Compute::all_by_candle() {
        for case in cases() {
            let comparison = sharpbench::parity::replay(&case, &compute, &sharpbench::optim::Registry::standard())
                .expect("a valid case");
            println!("{:?} {}: worst {:?}", compute.gpu(), case.display(), comparison.worst());
            assert!(comparison.passes(), "{:?} {}: {:?}", compute.gpu(), case.display(), comparison.worst());
        }
    }
}
