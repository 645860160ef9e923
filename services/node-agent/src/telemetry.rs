//! Where the node's other processes tell what they do: node-agent alone has a way to the collector.

use crate::config::{Config, text};
use sextant_kit::Context;
use sextant_runner::relay::Relay;

/// Names the socket to the CNI plugin, which containerd starts.
pub const PLUGIN_VARIABLE: &str = "SEXTANT_TELEMETRY";

/// Offers receivers to containerd, kubelet and the CNI plugin, and to netpol-controller in the folder that its pod
/// mounts. False where this process has no collector, or none can be offered: then nobody is told of any.
pub(crate) fn offer(config: &Config, ctx: &Context) -> bool {
    let Some(relay) = Relay::start(&ctx.metrics, &ctx.drain) else {
        return false;
    };
    let sockets = [config.telemetry_socket(), config.policy_telemetry_socket()];
    let offered = sockets.iter().try_for_each(|socket| {
        if let Some(folder) = socket.parent() {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|e| format!("making {}: {e}", folder.display()))?;
        }
        relay
            .listen(socket, &ctx.drain)
            .map_err(|error| error.to_string())
    });
    if let Err(reason) = &offered {
        tracing::error!(reason, "the node's other processes are not traced");
    }
    offered.is_ok()
}

/// What containerd reads, and what it hands on to the CNI plugins.
pub(crate) fn of_containerd(config: &Config, node: &str) -> [(&'static str, String); 4] {
    let socket = text(&config.telemetry_socket());
    let given = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let separator = if given.is_empty() { "" } else { "," };
    [
        // Its OpenTelemetry takes host and path of the URL for gRPC's target; the scheme says that there is no TLS.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://unix:{socket}"),
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            format!("{given}{separator}host.name={node}"),
        ),
        (PLUGIN_VARIABLE, format!("unix:{socket}")),
    ]
}
