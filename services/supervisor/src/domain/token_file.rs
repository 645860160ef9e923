//! The join token that a node of the deployment finds in its private volume.

/// Life of such a token.
pub const TTL_SECONDS: i64 = 3600;

/// What to do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Empty the file: the node has joined.
    Clear,
    /// It is right as it is.
    Keep,
    /// Write a new token.
    Write,
}

/// A token as token-service lists it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// End of its life.
    pub expires_unix: i64,
    /// Whether it has been used as often as it may.
    pub used_up: bool,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl Known {
    /// Whether somebody could join with it.
    pub fn is_usable(self) -> bool {
        !self.revoked && !self.used_up
    }
}

/// The public part of a token, `K10<hash>::<id>:<secret>` or `<id>:<secret>`.
pub fn token_id(token: &str) -> Option<&str> {
    let rest = token
        .trim()
        .rsplit_once("::")
        .map_or(token.trim(), |(_, rest)| rest);
    rest.split_once(':')
        .map(|(id, _)| id)
        .filter(|id| !id.is_empty())
}

/// Decides by whether the node has joined, whether the file holds anything, and what token-service knows of it.
///
/// A token is written anew at half life, so that a node which reads the file always has time to use it.
pub fn decide(joined: bool, file_empty: bool, known: Option<Known>, now: i64) -> Action {
    if joined {
        return if file_empty {
            Action::Keep
        } else {
            Action::Clear
        };
    }
    match known {
        Some(token) if token.is_usable() && token.expires_unix - now > TTL_SECONDS / 2 => {
            Action::Keep
        }
        _ => Action::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(expires_unix: i64) -> Known {
        Known {
            expires_unix,
            used_up: false,
            revoked: false,
        }
    }

    #[test]
    fn ids() {
        assert_eq!(token_id("K10ab::abcdefghij:secret\n"), Some("abcdefghij"));
        assert_eq!(token_id("abcdefghij:secret"), Some("abcdefghij"));
        assert_eq!(token_id(""), None);
        assert_eq!(token_id("K10ab::nothing"), None);
    }

    #[test]
    fn a_joined_node_has_no_token() {
        assert_eq!(decide(true, false, Some(known(9000)), 0), Action::Clear);
        assert_eq!(decide(true, true, None, 0), Action::Keep);
    }

    #[test]
    fn a_good_token_stays_until_half_life() {
        assert_eq!(decide(false, false, Some(known(3600)), 0), Action::Keep);
        assert_eq!(decide(false, false, Some(known(3600)), 1799), Action::Keep);
        assert_eq!(decide(false, false, Some(known(3600)), 1800), Action::Write);
    }

    #[test]
    fn missing_unknown_used_and_revoked_tokens_are_replaced() {
        assert_eq!(decide(false, true, None, 0), Action::Write);
        assert_eq!(decide(false, false, None, 0), Action::Write);
        assert_eq!(
            decide(
                false,
                false,
                Some(Known {
                    used_up: true,
                    ..known(3600)
                }),
                0
            ),
            Action::Write
        );
        assert_eq!(
            decide(
                false,
                false,
                Some(Known {
                    revoked: true,
                    ..known(3600)
                }),
                0
            ),
            Action::Write
        );
    }
}
