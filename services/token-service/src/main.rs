//! Starts the service.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<token_service::app::TokenService>()
}
