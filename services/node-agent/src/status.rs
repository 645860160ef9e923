//! `node-agent status`: asks the running agent over its socket.

use crate::config::Config;
use hyper_util::rt::TokioIo;
use sextant_kit::config::Sources;
use sextant_proto::node::node_client::NodeClient;
use sextant_proto::node::{StatusRequest, StatusResponse};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

const DEADLINE: Duration = Duration::from_secs(5);

/// Prints the node's state; fails when the agent doesn't answer.
pub(crate) fn main(sources: &Sources) -> ExitCode {
    let config: Config = match sources.load() {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let asking = async { tokio::time::timeout(DEADLINE, ask(config.socket())).await? };
        runtime.block_on(asking)
    });
    match answer {
        Ok(status) => {
            print(&status);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&format_args!(
            "node-agent at {}: {error:#}",
            config.socket().display()
        )),
    }
}

async fn ask(socket: PathBuf) -> anyhow::Result<StatusResponse> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://node-agent");
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(NodeClient::new(channel)
        .status(StatusRequest {})
        .await?
        .into_inner())
}

fn print(status: &StatusResponse) {
    let listed = |list: &[String]| {
        if list.is_empty() {
            "none".into()
        } else {
            list.join(", ")
        }
    };
    println!("node       {} (node-agent {})", status.name, status.version);
    println!("addresses  {}", listed(&status.addresses));
    println!(
        "pods       {}",
        if status.pod_cidr.is_empty() {
            "no network yet"
        } else {
            &status.pod_cidr
        }
    );
    println!("sessions   {}", listed(&status.sessions));
    for child in &status.children {
        let state = if child.running {
            format!("pid {}", child.pid)
        } else {
            "not running".into()
        };
        println!("{:<10} {state}, {} restarts", child.name, child.restarts);
    }
    if status.waiting_for.is_empty() {
        println!("ready");
    }
    for reason in &status.waiting_for {
        println!("waiting    {reason}");
    }
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
