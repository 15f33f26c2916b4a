//! The program: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

/// Measured on parsing: 1.3 times as fast as the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(chis_broker::cli::main(std::env::args_os()))
}
