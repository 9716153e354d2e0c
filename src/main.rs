//! The `sluice` command.

use std::process::ExitCode;

/// Requests come and go in buffers of some ten kilobytes on several threads, which this allocator takes
/// and gives back for less.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluice::cli::run(std::env::args_os())
}
