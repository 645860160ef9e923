//! Starts the runner.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<sextant_runner::app::Runner>()
}
