//! The plugin's process.

use super::{Call, Failure, Verdict};
use crate::telemetry::PLUGIN_VARIABLE;
use hyper_util::rt::TokioIo;
use sextant_kit::telemetry::{Traces, rpc};
use sextant_proto::netpol::EnsurePodRequest;
use sextant_proto::netpol::network_policy_client::NetworkPolicyClient;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tracing::Instrument as _;

/// Name under which the binary is the plugin.
const NAME: &str = "sextant-policy";
/// Longest wait for netpol-controller; the kubelet tries again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest network configuration.
const MAX_INPUT: u64 = 4 * 1024 * 1024;
/// "Try again later" of the specification.
const TRY_AGAIN: u32 = 11;

/// Whether this process was started as the plugin: under its name, or as `node-agent cni`.
pub fn is_plugin() -> bool {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from);
    let named = name.as_deref().and_then(Path::file_name) == Some(OsStr::new(NAME));
    named || arguments.next().as_deref() == Some(OsStr::new("cni"))
}

/// The whole of the plugin.
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().take(MAX_INPUT).read_to_end(&mut input) {
        let message = format!("reading standard input: {error}");
        return fail("1.0.0", &Failure { code: 5, message });
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let call = Call {
        command: variable("CNI_COMMAND"),
        arguments: variable("CNI_ARGS"),
        input,
    };
    let version = call.version();
    match call.decide().and_then(effect) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(answer)) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(failure) => fail(&version, &failure),
    }
}

fn effect(verdict: Verdict) -> Result<Option<serde_json::Value>, Failure> {
    match verdict {
        Verdict::Answer(answer) => Ok(Some(answer)),
        Verdict::Done => Ok(None),
        // Until the controller runs for the first time there is nothing to ask: its own pod must start.
        Verdict::Ensure { socket, answer, .. } if !Path::new(&socket).exists() => Ok(Some(answer)),
        Verdict::Ensure {
            socket,
            pod,
            answer,
        } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.map_err(|e| Failure {
                code: 5,
                message: format!("starting a runtime: {e}"),
            })?;
            runtime.block_on(traced(PathBuf::from(socket), pod))?;
            Ok(Some(answer))
        }
    }
}

/// [`ensure`] within a span, where node-agent takes one. It has no parent: containerd hands none on. The pod's uid is on
/// it and on kubelet's.
async fn traced(socket: PathBuf, pod: EnsurePodRequest) -> Result<(), Failure> {
    let endpoint = std::env::var(PLUGIN_VARIABLE).unwrap_or_default();
    let traces = Traces::init(NAME, &endpoint);
    let span = tracing::info_span!(
        "ensure_policy",
        k8s.namespace.name = pod.namespace,
        k8s.pod.name = pod.name,
        k8s.pod.uid = pod.uid,
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
    );
    let ensured = ensure(socket, pod).instrument(span.clone()).await;
    if let Err(failure) = &ensured {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", failure.message.as_str());
    }
    drop(span);
    traces.shutdown().await;
    ensured
}

/// Returns once the kernel holds the pod's policy.
async fn ensure(socket: PathBuf, pod: EnsurePodRequest) -> Result<(), Failure> {
    let what = format!("the policy of pod {}/{}", pod.namespace, pod.name);
    let place = socket.display().to_string();
    let again = |reason: String| Failure {
        code: TRY_AGAIN,
        message: format!("{what} is not in force yet: netpol-controller at {place}: {reason}"),
    };
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://netpol-controller");
    let exchange = async {
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                cause.unwrap_or_else(|| error.to_string())
            })?;
        let mut client = NetworkPolicyClient::new(rpc::Client::new(channel));
        client
            .ensure_pod(pod)
            .await
            .map_err(|status| status.message().to_owned())
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(reason)) => Err(again(reason)),
        Err(_) => Err(again(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

fn fail(version: &str, failure: &Failure) -> ExitCode {
    println!("{}", failure.to_json(version));
    ExitCode::FAILURE
}
