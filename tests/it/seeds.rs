//! The seeds of the fuzzers, as they are and damaged: no parser panics, and what it refuses it names.

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is the fuzzers' library")]
mod parsers;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Damaged copies of a seed that are tried.
const COPIES: usize = 40;

fn seeds(parser: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(parser);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// A copy of a seed: cut somewhere, or with a bit turned over.
fn damaged(bytes: &[u8], copy: usize) -> Vec<u8> {
    // Fibonacci hashing: places all over the file, the same in every run.
    let place = (copy as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let at = (place >> 16) as usize % bytes.len().max(1);
    if copy.is_multiple_of(4) {
        return bytes[..at].to_vec();
    }
    let mut copy = bytes.to_vec();
    if let Some(byte) = copy.get_mut(at) {
        *byte ^= 1 << (place >> 61);
    }
    copy
}

fn replay(parser: &str, parse: fn(&[u8])) {
    let seeds = seeds(parser);
    assert!(!seeds.is_empty(), "{parser} has no seed");
    for seed in seeds {
        let bytes = std::fs::read(&seed).expect("a seed");
        // Shown where a parser panics.
        println!("{}", seed.display());
        parse(&bytes);
        (0..COPIES).for_each(|copy| {
            println!("  damaged copy {copy}");
            parse(&damaged(&bytes, copy));
        });
    }
}

macro_rules! replayed {
    ($($parser:ident)*) => {
        $(#[test] fn $parser() { replay(stringify!($parser), parsers::$parser); })*

        #[test]
        fn every_parser_is_replayed_and_fuzzed() {
            let replayed = BTreeSet::from([$(stringify!($parser).to_string()),*]);
            let targets = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets")).expect("targets");
            let targets = targets.map(|entry| entry.expect("a target").path());
            let names = targets.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned());
            assert_eq!(names.collect::<BTreeSet<String>>(), replayed);
        }
    };
}

replayed! { suite filter gate record plan idx cifar pickle parquet photograph weights checkpoint parity squeue }
