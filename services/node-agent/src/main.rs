//! Starts the service, or the CNI plugin where the binary is called as one.

fn main() -> std::process::ExitCode {
    if node_agent::cni::is_plugin() {
        return node_agent::cni::main();
    }
    sextant_kit::main::<node_agent::app::App>()
}
