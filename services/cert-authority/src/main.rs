//! Starts the service.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<cert_authority::app::App>()
}
