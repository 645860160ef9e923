//! Why a conversation with the supervisor failed, from the errors that the layers below wrap into each other.
use crate::Error;
use crate::output::Timestamp;
use rustls::{AlertDescription, CertificateError};
use std::error::Error as StdError;
use std::io;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpStream;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Nobody answers at `server`, or stops answering.
#[must_use]
pub fn unreachable(server: &str, found: impl Into<String>) -> Error {
    Error::Unreachable {
        address: server.to_owned(),
        found: found.into(),
    }
}

/// Whether anybody listens at `server`.
///
/// # Errors
/// When the name isn't known or nobody accepts a connection within 5 s.
pub async fn reach(server: &str) -> Result<(), Error> {
    match tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(server)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(unreachable(server, error.to_string())),
        Err(_) => {
            let found = format!("no connection within {} s", CONNECT_DEADLINE.as_secs());
            Err(unreachable(server, found))
        }
    }
}

/// A failed connection or call, in our words.
#[must_use]
pub fn diagnose(server: &str, error: &(dyn StdError + 'static)) -> Error {
    match causes(error)
        .into_iter()
        .find_map(|cause| cause.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(found)) => certificate(server, found),
        Some(rustls::Error::AlertReceived(alert)) if refuses_certificate(*alert) => {
            Error::Untrusted {
                address: server.to_owned(),
                found: format!("it refused this machine's certificate: {alert:?}"),
            }
        }
        _ => unreachable(server, text(error)),
    }
}

fn certificate(server: &str, found: &CertificateError) -> Error {
    let clock = |problem| {
        let now = Timestamp::from_unix(OffsetDateTime::now_utc().unix_timestamp());
        Error::Clock {
            address: server.to_owned(),
            problem,
            now: now.map(Timestamp::rfc3339).unwrap_or_default(),
        }
    };
    match found {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            clock("isn't valid yet")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => clock("has expired"),
        other => Error::Untrusted {
            address: server.to_owned(),
            found: other.to_string(),
        },
    }
}

fn refuses_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
    )
}

/// The error and everything it was made from.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut found: Vec<&(dyn StdError + 'static)> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        found.push(error);
        // An io::Error's `source` skips the error that it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    found
}

/// The whole chain on one line, without repetitions.
fn text(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let part = cause.to_string();
        if parts.last().is_none_or(|last| !last.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn tells_clocks_from_strangers() {
        let expired = wrapped(CertificateError::Expired.into());
        assert!(matches!(diagnose("a:1", &expired), Error::Clock { .. }));
        let stranger = wrapped(CertificateError::UnknownIssuer.into());
        assert!(matches!(
            diagnose("a:1", &stranger),
            Error::Untrusted { .. }
        ));
        let refused = wrapped(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
        assert!(matches!(diagnose("a:1", &refused), Error::Untrusted { .. }));
    }

    #[test]
    fn says_the_rest_once() {
        let lost = io::Error::other(io::Error::other("lost"));
        let message = diagnose("a:1", &lost).to_string();
        assert!(
            message.contains("the supervisor at a:1: lost;"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn notices_that_nobody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        reach(&server).await.unwrap();
        drop(listener);
        let error = reach(&server).await.unwrap_err();
        assert!(
            error.to_string().contains("refused") && error.exit_code() == 3,
            "{error}"
        );
    }
}
