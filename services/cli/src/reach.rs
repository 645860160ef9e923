//! Whether there is anybody to talk to: asked when a conversation failed, for the message.
use crate::Error;
use std::time::Duration;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// Whether anybody listens at `server` (host:port).
///
/// # Errors
/// When the name isn't known or nobody accepts a connection within 5 s.
pub async fn reach(server: &str) -> Result<(), Error> {
    let found = match tokio::time::timeout(DEADLINE, TcpStream::connect(server)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} s", DEADLINE.as_secs()),
    };
    Err(Error::Unreachable {
        address: server.to_owned(),
        found,
    })
}

/// Why a conversation with `server` failed: nobody is there, or what was `found`.
pub async fn explain(server: &str, found: String) -> Error {
    match reach(server).await {
        Ok(()) => Error::Strange {
            address: server.to_owned(),
            found,
        },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notices_that_nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        reach(&server).await.unwrap();
        let error = explain(&server, "odd".into()).await;
        assert!(
            error.to_string().contains(": odd") && error.exit_code() == 3,
            "{error}"
        );
        drop(listener);
        let error = explain(&server, "odd".into()).await;
        assert!(
            error.to_string().contains("refused") && error.exit_code() == 3,
            "{error}"
        );
    }
}
