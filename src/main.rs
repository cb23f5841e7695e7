//! The command line program; the library contains all code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sharpbench::run(&sharpbench::Registry::standard())
}
