//! The CNI plugin as the container runtime runs it: a process with an environment and standard input.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise"
)]

use serde_json::{Value, json};
use sextant_proto::netpol::network_policy_server::{NetworkPolicy, NetworkPolicyServer};
use sextant_proto::netpol::{EnsurePodRequest, EnsurePodResponse, ExplainRequest, ExplainResponse};
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Agrees with every pod but one.
struct Controller(mpsc::Sender<EnsurePodRequest>);

#[tonic::async_trait]
impl NetworkPolicy for Controller {
    async fn ensure_pod(
        &self,
        request: Request<EnsurePodRequest>,
    ) -> Result<Response<EnsurePodResponse>, Status> {
        let pod = request.into_inner();
        let refused = pod.name == "refused";
        self.0.send(pod).await.unwrap();
        if refused {
            return Err(Status::unavailable("not synced yet"));
        }
        Ok(Response::new(EnsurePodResponse { policies: 1 }))
    }

    async fn explain(
        &self,
        _: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

fn serve(socket: &Path) -> mpsc::Receiver<EnsurePodRequest> {
    let (asked, questions) = mpsc::channel(8);
    let listener = UnixListener::bind(socket).unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(NetworkPolicyServer::new(Controller(asked)))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tokio::spawn(server);
    questions
}

/// Runs the plugin; returns whether it succeeded and what it printed.
async fn add(pod: &str, socket: &Path) -> (bool, Value) {
    let input = json!({
        "cniVersion": "1.0.0", "name": "sextant", "type": "sextant-policy",
        "socket": socket,
        "prevResult": result(),
    });
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_node-agent"))
        .arg("cni")
        .env("CNI_COMMAND", "ADD")
        .env(
            "CNI_ARGS",
            format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID=u"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    (
        output.status.success(),
        serde_json::from_slice(&output.stdout).unwrap(),
    )
}

fn result() -> Value {
    json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.244.1.7/24" }] })
}

#[tokio::test]
async fn a_pod_waits_until_its_policy_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("netpol.sock");
    // Before the controller runs for the first time nothing can be asked: its own pod must start.
    assert_eq!(add("early", &socket).await, (true, result()));

    let mut questions = serve(&socket);
    assert_eq!(add("web", &socket).await, (true, result()));
    let question = questions.recv().await.unwrap();
    assert_eq!(
        (question.name.as_str(), question.uid.as_str()),
        ("web", "u")
    );
    assert_eq!(question.addresses, ["10.244.1.7"]);

    let (succeeded, failure) = add("refused", &socket).await;
    assert!(!succeeded);
    assert_eq!(failure["code"], 11);
    let message = failure["msg"].as_str().unwrap();
    assert!(
        message.contains("default/refused") && message.contains("not synced yet"),
        "{message}"
    );
}

#[tokio::test]
async fn a_dead_controller_keeps_the_pod_closed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("netpol.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let (succeeded, failure) = add("web", &socket).await;
    assert!(!succeeded);
    assert!(
        failure["msg"].as_str().unwrap().contains("refused"),
        "{failure}"
    );
}
