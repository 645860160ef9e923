//! Clocks that differ are behind many a refusal that speaks of something else.

use crate::error::Error;
use crate::tls::utc;
use http::{HeaderMap, header};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Differences that are worth a word.
const MUCH: Duration = Duration::from_secs(300);

/// What two clocks said at the same time, if that was far apart.
pub(super) struct Skew(Option<(SystemTime, SystemTime)>);

impl Skew {
    /// From an answer's `Date`.
    pub(super) fn of(headers: &HeaderMap, ours: SystemTime) -> Self {
        let date = headers
            .get(header::DATE)
            .and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        let pair = theirs.map(|theirs| (SystemTime::from(theirs), ours));
        Self(pair.filter(|(theirs, ours)| {
            let apart = theirs
                .duration_since(*ours)
                .unwrap_or_else(|e| e.duration());
            apart > MUCH
        }))
    }

    /// The error, with both clocks if they are far apart.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Some((theirs, ours)) = self.0 else {
            return error;
        };
        let clocks = format!(
            "; its clock says {}, ours says {}: set the one that is wrong, then try again",
            utc(theirs),
            utc(ours)
        );
        match error {
            Error::Peer { address, reason } => Error::Peer {
                address,
                reason: reason + &clocks,
            },
            Error::Refused {
                address,
                what,
                reason,
            } => Error::Refused {
                address,
                what,
                reason: reason + &clocks,
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(date: &str) -> String {
        let headers = HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
        // 2026-11-23T03:00:00Z.
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_402_800);
        let error = Error::Peer {
            address: "edge:9443".into(),
            reason: "no".into(),
        };
        Skew::of(&headers, ours).explain(error).to_string()
    }

    #[test]
    fn both_clocks_are_named_when_they_are_far_apart() {
        for date in [
            "Mon, 23 Nov 2026 02:54:59 GMT",
            "Mon, 23 Nov 2026 03:05:01 GMT",
        ] {
            let text = explained(date);
            let time = format!("2026-11-23T{}Z", &date[17..25]);
            assert!(text.contains(&time), "{text}");
            assert!(text.contains("ours says 2026-11-23T03:00:00Z"), "{text}");
        }
    }

    #[test]
    fn small_differences_and_nonsense_are_passed_over() {
        for date in [
            "Mon, 23 Nov 2026 02:55:00 GMT",
            "Mon, 23 Nov 2026 03:05:00 GMT",
            "yesterday",
        ] {
            assert_eq!(explained(date), "edge:9443: no");
        }
    }
}
