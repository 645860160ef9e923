//! Starts the program.
use std::process::ExitCode;

fn main() -> ExitCode {
    sextant_cli::main()
}
