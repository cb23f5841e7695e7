//! The command line: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match sharpbench::cli::run() {
        Ok(code) => code,
        Err(error) => {
            sharpbench::cli::tell(&format!("error: {error}"));
            ExitCode::from(sharpbench::cli::EXIT_ERROR)
        }
    }
}
