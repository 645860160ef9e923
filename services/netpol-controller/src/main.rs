//! Starts the service.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<netpol_controller::app::App>()
}
