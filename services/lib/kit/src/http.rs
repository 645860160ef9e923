//! A question to a part's admin port: plain HTTP by hand, since our own small server answers.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status' number.
    pub status: u16,
    /// The text.
    pub body: String,
}

/// One GET, in time and of at most `longest` bytes.
///
/// # Errors
/// Nobody answers in time, or what is answered is too long or no HTTP.
pub async fn get<A: ToSocketAddrs + Display>(
    address: A,
    path: &str,
    longest: u64,
    limit: Duration,
) -> Result<Answer> {
    let Ok(answer) = tokio::time::timeout(limit, exchange(address, path, longest)).await else {
        let late = format!("no answer within {} s", limit.as_secs());
        return Err(Error::new(ErrorKind::TimedOut, late));
    };
    parse(&answer?)
}

/// HTTP/1.0, so that the answer is neither kept open nor in pieces.
async fn exchange<A: ToSocketAddrs + Display>(
    address: A,
    path: &str,
    longest: u64,
) -> Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(longest + 1).read_to_end(&mut answer).await?;
    if answer.len() as u64 > longest {
        return Err(Error::other(format!(
            "{path} is longer than {longest} bytes"
        )));
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("no answer in HTTP"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| Error::other("an answer without a status"))?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\nwaiting\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "waiting\n"));
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err());
        assert!(parse(b"\r\n\r\n").is_err());
    }

    /// A server that says `answer` to one caller and then stays silent.
    async fn server(answer: Vec<u8>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(&answer).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        address
    }

    #[tokio::test]
    async fn neither_a_long_answer_nor_silence_is_waited_for() {
        let endless = server(vec![b'x'; 200_000]).await;
        let limit = Duration::from_secs(20);
        let error = get(endless, "/metrics", 1000, limit).await.unwrap_err();
        assert!(error.to_string().contains("longer than 1000"), "{error}");
        let silent = server(Vec::new()).await;
        let limit = Duration::from_millis(50);
        let error = get(silent, "/metrics", 1000, limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
