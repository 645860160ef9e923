//! Whether there is anybody to talk to: asked when a conversation failed, for the message.
use crate::Error;
use std::time::Duration;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// What to do about a cluster that doesn't answer, by where it runs: ends of sentences.
#[derive(Clone, Debug)]
pub struct Advice {
    /// When nobody is there.
    pub unreachable: String,
    /// Where to look when a conversation fails.
    pub strange: String,
    /// What it says when a token isn't taken.
    pub refused: String,
}

/// Whether anybody listens at `server` (host:port).
///
/// # Errors
/// When the name isn't known or nobody accepts a connection within 5 s.
pub async fn reach(server: &str, advice: &Advice) -> Result<(), Error> {
    let found = match tokio::time::timeout(DEADLINE, TcpStream::connect(server)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} s", DEADLINE.as_secs()),
    };
    Err(Error::Unreachable {
        address: server.to_owned(),
        found,
        advice: advice.unreachable.clone(),
    })
}

/// Why a conversation with `server` failed: nobody is there, or what was `found`.
pub async fn explain(server: &str, found: String, advice: &Advice) -> Error {
    match reach(server, advice).await {
        Ok(()) => Error::Strange {
            address: server.to_owned(),
            found,
            advice: advice.strange.clone(),
        },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrol::Source;

    #[tokio::test]
    async fn notices_that_nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let advice = Source::Folder("/x".into()).advice();
        reach(&server, &advice).await.unwrap();
        let error = explain(&server, "odd".into(), &advice).await;
        assert!(
            error.to_string().contains(": odd") && error.exit_code() == 3,
            "{error}"
        );
        drop(listener);
        let error = explain(&server, "odd".into(), &advice).await;
        assert!(
            error.to_string().contains("refused") && error.exit_code() == 3,
            "{error}"
        );
    }
}
