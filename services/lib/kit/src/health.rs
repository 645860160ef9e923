//! The `healthcheck` subcommand: asks the own admin port whether the process is ready.

use crate::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(2);
const MAX_ANSWER: u64 = 64 * 1024;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks `/readyz` of the admin port that listens on `admin` until it is ready or `patience` is over. The error holds what is
/// waited for then.
pub async fn check(admin: SocketAddr, patience: Duration) -> Result<(), Error> {
    let end = Instant::now() + patience;
    loop {
        let asked = check_once(admin).await;
        if asked.is_ok() || Instant::now() >= end {
            return asked;
        }
        sleep(PAUSE).await;
    }
}

async fn check_once(admin: SocketAddr) -> Result<(), Error> {
    let address = reachable(admin);
    tokio::time::timeout(DEADLINE, ask(address))
        .await
        .map_err(|_| Error::Health(format!("{address} gave no answer within {DEADLINE:?}")))?
}

async fn ask(address: SocketAddr) -> Result<(), Error> {
    let failed = |what: &str, e: std::io::Error| Error::Health(format!("{what} {address}: {e}"));
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|e| failed("dialling", e))?;
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|e| failed("asking", e))?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .await
        .map_err(|e| failed("reading", e))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        // In one line: of what a probe printed, lists of events show no more.
        Some(status) => Err(Error::Health(format!(
            "{status}: {}",
            body.trim().replace('\n', "; ")
        ))),
        None => Err(Error::Health(format!("{address} didn't answer with HTTP"))),
    }
}

/// An unspecified listen address can't be dialled; loopback reaches it.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}
