//! Points in time as the Admin API gives them.
use crate::duration;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A second in UTC: RFC 3339 in JSON and YAML, relative in tables.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// From seconds since 1970. Zero, and what no calendar holds, means that the time isn't known.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Option<Self> {
        if seconds == 0 {
            return None;
        }
        OffsetDateTime::from_unix_timestamp(seconds).ok().map(Self)
    }

    /// `in 3h 5m`, `12s ago` or `now`.
    #[must_use]
    pub fn relative(self, now: OffsetDateTime) -> String {
        let distance = (self.0 - now).unsigned_abs();
        match (self.0 - now).whole_seconds() {
            0 => "now".to_owned(),
            1.. => format!("in {}", duration::human(distance)),
            _ => format!("{} ago", duration::human(distance)),
        }
    }

    /// Whether the time lies behind.
    #[must_use]
    pub fn is_past(self, now: OffsetDateTime) -> bool {
        self.0 <= now
    }

    /// RFC 3339, in UTC.
    #[must_use]
    pub fn rfc3339(self) -> String {
        // Years 0 to 9999 can be written, and from_unix gives no others.
        self.0.format(&Rfc3339).unwrap_or_default()
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.0
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_relative_to_now() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(10);
        let at = |seconds: i64| {
            Timestamp::from_unix(864_000 + seconds)
                .unwrap()
                .relative(now)
        };
        assert_eq!(at(0), "now");
        assert_eq!(at(90), "in 1m 30s");
        assert_eq!(at(-3_600), "1h ago");
    }

    #[test]
    fn knows_what_it_does_not_know() {
        assert_eq!(Timestamp::from_unix(0), None);
        assert_eq!(Timestamp::from_unix(i64::MAX), None);
    }
}
