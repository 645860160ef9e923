//! Starts the service.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<supervisor::app::App>()
}
