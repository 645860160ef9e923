//! The port that strangers can reach: what they send before they have proved anything is bounded, and it goes on
//! serving the others.

use crate::node::Node;
use crate::plane::{Plane, SOON};
use crate::stranger::connect;
use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HTTP1: &[u8] = b"http/1.1";
/// How long honest callers may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than handshakes may be open at one time.
const CROWD: usize = 400;

pub async fn strangers_do_not_stop_it() -> Result<()> {
    let plane = Plane::ready().await?;
    let address = plane.public_address();
    let token = plane.token().await?;
    too_much_is_refused(address).await?;

    let slow = [
        "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Le",
        "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"node_name\":",
    ];
    let mut lorises = Vec::new();
    for beginning in slow {
        for _ in 0..20 {
            let mut stream = connect(address, HTTP1).await?;
            stream.write_all(beginning.as_bytes()).await?;
            lorises.push(stream);
        }
    }
    serves(address).await?;
    let silent = crowd(address).await?;
    serves(address).await?;
    let node = Node::new("honest")?;
    let shown = address.to_string();
    let joined = node.join(&shown, &token.token);
    tokio::time::timeout(SOON, joined)
        .await
        .context("a join")??;

    // They are shown the door, all of them.
    let mut doors = JoinSet::new();
    for stream in silent {
        doors.spawn(closed(stream, Duration::from_secs(20)));
    }
    for stream in lorises {
        doors.spawn(closed(stream, Duration::from_secs(45)));
    }
    while let Some(door) = doors.join_next().await {
        door??;
    }
    serves(address).await
}

/// Connections that say nothing at all.
async fn crowd(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        crowd.push(TcpStream::connect(address).await?);
    }
    Ok(crowd)
}

async fn too_much_is_refused(address: SocketAddr) -> Result<()> {
    let body = "x".repeat(65 * 1024);
    let requests = [
        // A body that is sent, one that is only announced, and one without an end.
        (
            format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            "413",
        ),
        ("Content-Length: 9999999999\r\n\r\n".to_owned(), "413"),
        (
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
                body.len()
            ),
            "413",
        ),
        (format!("X-Large: {body}\r\n\r\n"), "431"),
    ];
    for (request, status) in requests {
        let mut stream = connect(address, HTTP1).await?;
        let head = "POST /v1/join HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n";
        // The server may stop reading before we stop writing.
        let _ = stream
            .write_all(format!("{head}{request}").as_bytes())
            .await;
        let mut answer = [0; 12];
        let read = tokio::time::timeout(SOON, stream.read_exact(&mut answer));
        read.await.context("no answer")??;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.ends_with(status), "{answer:?} instead of {status}");
    }
    Ok(())
}

async fn serves(address: SocketAddr) -> Result<()> {
    let started = Instant::now();
    let asked = async {
        let mut stream = connect(address, HTTP1).await?;
        let request = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(SOON, asked).await.context("/ping")??;
    ensure!(answer.ends_with("pong"), "/ping answered {answer:?}");
    ensure!(
        started.elapsed() < PATIENCE,
        "/ping took {:?}",
        started.elapsed()
    );
    Ok(())
}

async fn closed(mut stream: impl AsyncRead + Unpin, deadline: Duration) -> Result<()> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(deadline, stream.read_to_end(&mut rest));
    // With or without a good-bye.
    let _ = read.await.context("a stranger may stay")?;
    Ok(())
}
