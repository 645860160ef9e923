//! Starts the service.

fn main() -> std::process::ExitCode {
    sextant_kit::main::<datastore_proxy::app::App>()
}
