//! TLS errors in words that help: which clock, which certificate, what to do.

use rustls::{AlertDescription, CertificateError, Error};
use rustls_pki_types::UnixTime;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a failed handshake means. `own_life` is the validity of the certificate that we showed.
pub(crate) fn explain(
    error: &std::io::Error,
    own_life: Option<(SystemTime, SystemTime)>,
) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
            clocks("the peer's certificate expired at", *not_after, *time)
        }
        Some(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            time,
            not_before,
        })) => clocks(
            "the peer's certificate is not valid before",
            *not_before,
            *time,
        ),
        // A bad signature is what an authority of the same name but another key looks like.
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "the peer's certificate comes from an authority that this cluster doesn't trust"
            .to_owned(),
        Some(Error::AlertReceived(AlertDescription::CertificateExpired)) => {
            let now = SystemTime::now();
            let life = own_life.map_or_else(String::new, |(from, to)| {
                format!(" (valid {} to {})", utc(from), utc(to))
            });
            format!(
                "the peer says that our certificate{life} isn't valid now; our clock says {}: \
                 the clocks may differ, compare them",
                utc(now)
            )
        }
        Some(Error::AlertReceived(AlertDescription::CertificateRequired)) => {
            "the peer demands a client certificate".to_owned()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

/// The same for an error of which only the text is left. In TLS 1.3 the peer judges our certificate when the
/// handshake is over for us, and HTTP/2 keeps no more than the text of what it then reads.
pub(crate) fn explain_text(text: String) -> String {
    let alerts = [
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRequired,
    ];
    let told = alerts.map(Error::AlertReceived);
    match told.into_iter().find(|error| error.to_string() == text) {
        Some(error) => explain(&std::io::Error::other(error), None),
        None => text,
    }
}

/// A time as people and logs read it.
pub(crate) fn utc(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_else(|_| format!("{time:?}"))
}

fn clocks(what: &str, limit: UnixTime, now: UnixTime) -> String {
    let utc = |time: UnixTime| utc(UNIX_EPOCH + std::time::Duration::from_secs(time.as_secs()));
    format!(
        "{what} {}, our clock says {}: the clocks may differ, compare them",
        utc(limit),
        utc(now)
    )
}
