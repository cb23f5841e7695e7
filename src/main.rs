//! The command line program; the library contains all code.
#![allow(unsafe_code, reason = "an option of the allocator; it has a SAFETY comment")]

use std::ffi::c_int;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which libmimalloc-sys does not name.
const PURGE_DELAY: c_int = 15;

/// Keeps freed memory for the next step. Otherwise the system takes large activations back after each step and clears their pages
/// again in the next.
fn keep_freed_memory() {
    // SAFETY: the option is an integer, read when memory is freed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

fn main() -> ExitCode {
    keep_freed_memory();
    sharpbench::run(&sharpbench::Registry::standard())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Page faults of this process that needed no disk, field 10 of `/proc/self/stat`.
    fn page_faults() -> usize {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
        let (_, after_name) = stat.rsplit_once(')').expect("the name of the program");
        after_name.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).expect("a number")
    }

    #[test]
    fn freed_memory_is_used_again_without_page_faults() {
        let faults = || {
            let before = page_faults();
            for _ in 0..10 {
                // As large as the activations of a batch, of several sizes.
                let blocks: Vec<Vec<u8>> = [6, 12, 19, 25, 40].map(|mib| vec![1; mib << 20]).into();
                drop(std::hint::black_box(blocks));
            }
            page_faults() - before
        };
        // SAFETY: as above. 0 gives freed memory back at once.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
        let given_back = faults();
        keep_freed_memory();
        let kept = faults();
        assert!(2 * kept < given_back, "{given_back} page faults in ten rounds, {kept} if memory is kept");
    }
}
