//! Changes of telemetry that an operator wants of the processes of this node.

use hyper_util::rt::TokioIo;
use sextant_kit::telemetry;
use sextant_proto::supervisor::{TelemetryInstruction, TelemetryOutcome};
use sextant_proto::telemetry::telemetry_client::TelemetryClient;
use sextant_proto::telemetry::{ChangeRequest, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

/// Longest time until netpol-controller has answered.
const DEADLINE: Duration = Duration::from_secs(3);

/// Does what is wanted, and says how it went.
pub(super) async fn obey(instruction: TelemetryInstruction, policy: &Path) -> TelemetryOutcome {
    let TelemetryInstruction {
        id,
        process,
        change,
    } = instruction;
    let change = change.unwrap_or_default();
    let outcome = match process.as_str() {
        "node-agent" => telemetry::change(&change).map_err(|status| status.message().to_owned()),
        "netpol-controller" => ask(policy.to_owned(), change).await,
        other => Err(format!("this node-agent knows no process `{other}`")),
    };
    let (settings, error) = match outcome {
        Ok(settings) => (Some(settings), String::new()),
        Err(error) => (None, error),
    };
    TelemetryOutcome {
        id,
        settings,
        error,
    }
}

async fn ask(socket: PathBuf, change: ChangeRequest) -> Result<Settings, String> {
    let place = socket.display().to_string();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let exchange = async {
        // The address is not used: the connector knows the socket.
        let endpoint = Endpoint::from_static("http://netpol-controller");
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{place}: {}", cause.unwrap_or_else(|| error.to_string()))
        })?;
        let answer = TelemetryClient::new(channel).change(change).await;
        answer.map_err(|status| status.message().to_owned())
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(format!(
            "{place}: no answer within {} s",
            DEADLINE.as_secs()
        )),
    }
}
