//! The parts of the cluster, each asked on its admin port what it waits for.

use crate::config::Part;
use futures::StreamExt;
use futures::stream;
use serde::Deserialize;
use sextant_proto::supervisor::PartStatus;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(3);
const LONGEST: u64 = 64 * 1024;
const AT_ONCE: usize = 16;

#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(default)]
    waiting: Vec<Waiting>,
    #[serde(default)]
    degraded: Vec<Waiting>,
}

#[derive(Deserialize)]
struct Waiting {
    name: String,
    reason: String,
}

/// Asks every replica of every part, all at the same time.
pub(super) async fn ask_all(parts: &[Part]) -> Vec<PartStatus> {
    let asked = stream::iter(parts).map(ask_part).buffered(AT_ONCE).concat();
    asked.await
}

async fn ask_part(part: &Part) -> Vec<PartStatus> {
    let absent = |reason: String| {
        vec![PartStatus {
            name: part.name.clone(),
            address: part.admin.clone(),
            ready: false,
            reasons: vec![reason],
        }]
    };
    let found = tokio::time::timeout(DEADLINE, tokio::net::lookup_host(&part.admin)).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            return absent(format!("resolving {}: {error}; is it running?", part.admin));
        }
        Err(_) => return absent(format!("resolving {}: no answer", part.admin)),
    };
    if addresses.is_empty() {
        return absent(format!("{} has no address; is it running?", part.admin));
    }
    stream::iter(addresses)
        .map(|address| async move {
            let outcome = tokio::time::timeout(DEADLINE, ask(address)).await;
            let (ready, reasons) = match outcome {
                Ok(Ok(readiness)) => {
                    let reasons = readiness.waiting.into_iter().chain(readiness.degraded);
                    (
                        readiness.ready,
                        reasons
                            .map(|w| format!("{}: {}", w.name, w.reason))
                            .collect(),
                    )
                }
                Ok(Err(error)) => (false, vec![format!("asking {address}: {error}")]),
                Err(_) => (
                    false,
                    vec![format!("asking {address}: no answer within 3 s")],
                ),
            };
            PartStatus {
                name: part.name.clone(),
                address: address.to_string(),
                ready,
                reasons,
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// `GET /readyz?format=json`, by hand: the answer of our own small server.
async fn ask(address: SocketAddr) -> std::io::Result<Readiness> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /readyz?format=json HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> std::io::Result<Readiness> {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let start = body.find('{').unwrap_or(0);
    let end = body.rfind('}').map_or(body.len(), |end| end + 1);
    serde_json::from_str(body.get(start..end).unwrap_or_default()).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_admin_port() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 70\r\n\r\n{\"ready\":false,\"waiting\":[{\"name\":\"datastore\",\"reason\":\"refused\"}]}";
        let readiness = parse(answer).unwrap();
        assert!(!readiness.ready);
        assert_eq!(readiness.waiting[0].name, "datastore");
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"ready\":true,\"waiting\":[],\"degraded\":[{\"name\":\"datastore\",\"reason\":\"refused\"}]}";
        let readiness = parse(answer).unwrap();
        assert!(readiness.ready && readiness.waiting.is_empty());
        assert_eq!(readiness.degraded[0].reason, "refused");
        assert!(parse(b"HTTP/1.1 404 Not Found\r\n\r\nno").is_err());
        assert!(parse(b"").is_err());
    }
}
