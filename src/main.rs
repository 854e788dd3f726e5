//! The `sonde` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sonde::cli::Cli::start()
}
