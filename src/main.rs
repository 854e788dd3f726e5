//! The `sonde` command.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    sonde::cli::Cli::parse().run()
}
