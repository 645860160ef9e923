//! ServiceAccounts of the hosting cluster: whose token enrols whom.

use super::enrolment::ENROLLING;
use sextant_hosting::Review;
use sextant_identity::Identity;

/// Why a ServiceAccount token enrols nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It isn't for us.
    #[error(
        "the ServiceAccount token is not for audience {wanted:?} alone: project it with that audience (found {found:?})"
    )]
    Audience {
        /// Ours.
        wanted: String,
        /// What the hosting cluster found.
        found: Vec<String>,
    },
    /// The hosting cluster doesn't take it.
    #[error(
        "the hosting cluster doesn't accept the ServiceAccount token ({0}): read it again from its file, which kubelet keeps fresh"
    )]
    NotAuthenticated(String),
    /// It is somebody else's.
    #[error("{found:?} enrols nobody here: use one of the ServiceAccounts {wanted}<identity>")]
    Stranger {
        /// Whose token it is.
        found: String,
        /// How the names of ours begin.
        wanted: String,
    },
}

/// The ServiceAccounts of this control plane.
#[derive(Clone, Debug)]
pub struct Accounts {
    audience: String,
    /// `system:serviceaccount:<namespace>:<name>-`.
    prefix: String,
}

impl Accounts {
    /// Of the control plane `name` in `namespace`. An empty audience is the default one.
    pub fn new(namespace: &str, name: &str, audience: &str) -> Self {
        let audience = match audience {
            "" => format!("sextant:{namespace}:{name}"),
            audience => audience.to_owned(),
        };
        Self {
            audience,
            prefix: format!("system:serviceaccount:{namespace}:{name}-"),
        }
    }

    /// The audience that tokens must have.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Whom the reviewed token enrols. An API server that doesn't know audiences answers with none and accepts every
    /// token of its cluster, so no audience is as bad as another one.
    pub fn identity(&self, review: &Review) -> Result<Identity, AccountError> {
        if !review.authenticated {
            return Err(AccountError::NotAuthenticated(shortened(&review.error)));
        }
        if review.audiences != [self.audience.as_str()] {
            return Err(AccountError::Audience {
                wanted: self.audience.clone(),
                found: review.audiences.iter().map(|a| shortened(a)).collect(),
            });
        }
        let username = &review.user.username;
        let identity = username.strip_prefix(&self.prefix).and_then(|name| {
            ENROLLING
                .iter()
                .find(|identity| identity.label() == name)
                .cloned()
        });
        identity.ok_or_else(|| AccountError::Stranger {
            found: shortened(username),
            wanted: self.prefix.clone(),
        })
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_hosting::User;
    use sextant_identity::ServiceName;

    fn review(username: &str, audiences: &[&str]) -> Review {
        Review {
            authenticated: true,
            audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
            user: User {
                username: username.to_owned(),
                ..User::default()
            },
            error: String::new(),
        }
    }

    fn enrolled(username: &str) -> Result<Identity, AccountError> {
        let accounts = Accounts::new("tenant", "plane", "");
        accounts.identity(&review(username, &["sextant:tenant:plane"]))
    }

    #[test]
    fn each_account_enrols_the_identity_that_it_is_named_after() {
        for identity in ENROLLING {
            let username = format!("system:serviceaccount:tenant:plane-{}", identity.label());
            assert_eq!(enrolled(&username), Ok(identity));
        }
    }

    #[test]
    fn nobody_else_enrols() {
        for username in [
            "system:serviceaccount:tenant:plane-",
            "system:serviceaccount:tenant:plane-node",
            "system:serviceaccount:tenant:plane-cert-authority",
            "system:serviceaccount:tenant:plane-netpol-controller",
            "system:serviceaccount:tenant:plane-admin2",
            "system:serviceaccount:tenant:plane-Admin",
            "system:serviceaccount:tenant:other-admin",
            "system:serviceaccount:tenant:plane-other-admin",
            "system:serviceaccount:tenant2:plane-admin",
            "system:serviceaccount:tenant:default",
            "system:serviceaccount:tenant:admin",
            "plane-admin",
            "system:admin",
            "",
        ] {
            let error = enrolled(username);
            assert!(
                matches!(error, Err(AccountError::Stranger { .. })),
                "{username}"
            );
        }
    }

    #[test]
    fn the_audience_is_ours_alone() {
        let accounts = Accounts::new("tenant", "plane", "ours");
        assert_eq!(accounts.audience(), "ours");
        let admin = "system:serviceaccount:tenant:plane-admin";
        let with = |audiences: &[&str]| accounts.identity(&review(admin, audiences));
        assert_eq!(with(&["ours"]), Ok(Identity::Admin));
        for audiences in [&[][..], &["theirs"], &["ours", "theirs"], &["ours2"], &[""]] {
            assert!(matches!(
                with(audiences),
                Err(AccountError::Audience { .. })
            ));
        }
    }

    #[test]
    fn what_isnt_authenticated_enrols_nobody_whatever_else_it_says() {
        let mut review = review("system:serviceaccount:tenant:plane-admin", &["ours"]);
        review.authenticated = false;
        review.error = "token has expired".to_owned();
        let refused = Accounts::new("tenant", "plane", "ours").identity(&review);
        assert!(refused.unwrap_err().to_string().contains("has expired"));
    }

    /// Else a plane `a` with account `a-b-admin` and a plane `a-b` with account `a-b-admin` would be one.
    #[test]
    fn two_planes_of_a_namespace_never_share_an_account() {
        for one in ENROLLING {
            for other in ENROLLING {
                let ending = format!("-{}", one.label());
                assert!(!other.label().ends_with(&ending), "{other} ends in {one}");
            }
        }
        assert!(ENROLLING.contains(&Identity::Service(ServiceName::Supervisor)));
    }
}
