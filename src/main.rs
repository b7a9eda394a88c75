//! The `guichet` program: hands over to [`guichet::cli`] and decides nothing itself.

use std::process::ExitCode;

/// Hashing and actor churn allocate in bursts; glibc's allocator is half as fast there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    guichet::cli::run()
}
