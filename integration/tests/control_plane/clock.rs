//! Other times of day: days without power, and clocks that are wrong.

use crate::node::{self, Node};
use crate::part::Part;
use crate::plane::{Plane, SOON, called, no_faketime, shift_clock};
use crate::tokens::refused;
use anyhow::{Context as _, Result, ensure};
use sextant_proto::supervisor::ListNodesRequest;
use sextant_proto::supervisor::node_session_client::NodeSessionClient;
use sextant_testkit::{Process, eventually};
use std::path::Path;
use std::process::ExitStatus;
use tonic::Code;

/// A node joins, seeing another time of day.
pub async fn join_at(
    plane: &Plane,
    name: &str,
    folder: &Path,
    clock: Option<&str>,
) -> Result<(ExitStatus, String)> {
    let mut command = called("node")?;
    command
        .arg(plane.address(Part::Edge).to_string())
        .arg(name)
        .arg(folder);
    shift_clock(&mut command, clock);
    let mut process = Process::start(command)?;
    let status = process.wait(SOON).await;
    Ok((status, process.output()))
}

/// Everything ran three days ago, was switched off, and is switched on today.
pub async fn three_days_off() -> Result<()> {
    if no_faketime() {
        return Ok(());
    }
    let mut plane = Plane::new()?;
    plane.clock = Some("-3d".to_owned());
    plane.start_all()?;
    plane.all_ready().await?;
    let anchors = plane.anchors()?;
    let folder = plane.path("nodes/node-1");
    // The supervisor leaves a token there for the node that it brings along.
    eventually(SOON, "a token for node-1", || {
        std::future::ready(std::fs::metadata(folder.join("token")))
    })
    .await;
    let (status, output) = join_at(&plane, "node-1", &folder, Some("-3d")).await?;
    ensure!(status.success(), "joining three days ago: {output}");
    let (node, response) = node::kept("node-1", &folder)?;
    plane.stop_all().await?;

    plane.clock = None;
    plane.start_all()?;
    plane.all_ready().await?;
    ensure!(plane.anchors()? == anchors, "the authority was made anew");
    // The node's certificate is over, and the key that it joined with is enough.
    let member = node.member(response)?;
    let mut session = NodeSessionClient::new(plane.supervisor_channel(&member.mesh));
    let status = session.renew(node.requests.clone()).await.err();
    let status = status.context("an expired certificate was taken")?;
    ensure!(status.code() == Code::Unavailable, "{status}");
    eventually(SOON, "the supervisor says why", || {
        let output = plane.output(Part::Supervisor);
        let told = output.contains("certificate expired at");
        std::future::ready(if told { Ok(()) } else { Err(output) })
    })
    .await;
    let mut client = plane.join_client().await?;
    let member = node.member(node.rejoin(&mut client).await?)?;
    let mut session = NodeSessionClient::new(plane.supervisor_channel(&member.mesh));
    session.renew(node.requests.clone()).await?;
    let nodes = plane.admin().await?.list_nodes(ListNodesRequest {}).await?;
    let nodes: Vec<_> = nodes
        .into_inner()
        .nodes
        .into_iter()
        .map(|n| n.name)
        .collect();
    ensure!(nodes == ["node-1"], "nodes: {nodes:?}");
    // Somebody else with the same name stays out.
    let thief = Node::new("node-1")?
        .rejoin(&mut plane.join_client().await?)
        .await;
    refused(thief, &["not_registered"])?;
    plane.no_secret_was_told(&[])
}

/// One machine's clock is a day off, in either direction.
pub async fn a_day_off() -> Result<()> {
    if no_faketime() {
        return Ok(());
    }
    let mut plane = Plane::ready().await?;
    let token = plane.token().await?;
    let folder = plane.path("nodes");
    std::fs::write(folder.join("token"), &token.token)?;
    for (clock, words) in [
        ("-1d", ["not valid before", "compare them"]),
        ("+2d", ["expired at", "compare them"]),
    ] {
        let (status, output) = join_at(&plane, "late", &folder, Some(clock)).await?;
        let told = words.iter().all(|word| output.contains(word));
        ensure!(!status.success() && told, "a node at {clock}: {output}");
    }
    let (status, output) = join_at(&plane, "late", &folder, None).await?;
    ensure!(status.success(), "the clock is right again: {output}");

    // A service of ours: it waits, says why, and needs no more than a right clock.
    for (clock, words) in [
        ("-1d", ["not valid before", "compare them"]),
        ("+2d", ["expired at", "compare them"]),
    ] {
        plane.stop(Part::TokenService).await?;
        plane.clock = Some(clock.to_owned());
        plane.start(Part::TokenService)?;
        plane.waits_for(Part::TokenService, &words).await?;
        plane.stop(Part::TokenService).await?;
        plane.clock = None;
        plane.start(Part::TokenService)?;
        plane.is_ready(Part::TokenService).await?;
    }

    // cert-authority before its own authorities were made: it issues nothing that would be wrong.
    plane.stop(Part::CertAuthority).await?;
    plane.clock = Some("-1d".to_owned());
    plane.start(Part::CertAuthority)?;
    plane.waits_for(Part::CertAuthority, &["clock"]).await?;
    plane.stop(Part::CertAuthority).await?;
    plane.clock = None;
    plane.start(Part::CertAuthority)?;
    plane.all_ready().await?;
    plane.token().await.map(drop)
}
