//! The `quorate` executable; everything is in `quorate_cli`.

use std::process::ExitCode;

/// Under many small allocations from many threads, as here, it is a good deal faster than the
/// system's allocator and returns memory sooner.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate_cli::main()
}
