//! Which claims are signed: those of ServiceAccount tokens that kube-apiserver makes, and no others.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Longest text of claims, in base64.
const MAX_CLAIMS: usize = 64 * 1024;
/// kube-apiserver's clock may be ahead of or behind ours by this much, in seconds.
const SKEW: i64 = 60;
/// What may be signed.
#[derive(Clone, Debug)]
pub struct ClaimsPolicy {
    /// The only `iss`.
    pub issuer: String,
    /// Longest time from now to `exp`, in seconds.
    pub max_seconds: i64,
}

/// Why claims aren't signed.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
pub enum ClaimsError {
    /// They can't be read.
    #[error("the claims are not base64url of a JSON object with exp, iat, iss and sub: {0}")]
    Form(String),
    /// They are of another issuer.
    #[error("iss is `{found}`, this signer signs for `{wanted}`")]
    Issuer {
        /// What was found.
        found: String,
        /// What is signed.
        wanted: String,
    },
    /// They live too long, or not at all.
    #[error("exp is {0} s from now; at most {1} s are signed")]
    Life(i64, i64),
    /// They don't belong to the ServiceAccount that they name.
    #[error("sub is `{0}`, which is not the ServiceAccount in kubernetes.io")]
    Subject(String),
    /// They are too long.
    #[error("the claims have {0} characters; at most {MAX_CLAIMS} are signed")]
    TooLong(usize),
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    #[expect(dead_code, reason = "must be there")]
    iat: i64,
    iss: String,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Reference,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
}

impl ClaimsPolicy {
    /// Whether `claims` (base64url without padding) may be signed at `now`.
    pub fn check(&self, claims: &str, now: i64) -> Result<(), ClaimsError> {
        if claims.len() > MAX_CLAIMS {
            return Err(ClaimsError::TooLong(claims.len()));
        }
        let form = |reason: String| ClaimsError::Form(reason);
        let json = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|error| form(error.to_string()))?;
        let parsed: Claims =
            serde_json::from_slice(&json).map_err(|error| form(error.to_string()))?;
        if parsed.iss != self.issuer {
            let (found, wanted) = (parsed.iss, self.issuer.clone());
            return Err(ClaimsError::Issuer { found, wanted });
        }
        let Kubernetes {
            namespace,
            serviceaccount,
        } = &parsed.kubernetes;
        let named = format!("system:serviceaccount:{namespace}:{}", serviceaccount.name);
        if namespace.is_empty() || serviceaccount.name.is_empty() || parsed.sub != named {
            return Err(ClaimsError::Subject(parsed.sub));
        }
        let left = parsed.exp.saturating_sub(now);
        if !(-SKEW..=self.max_seconds + SKEW).contains(&left) {
            return Err(ClaimsError::Life(left, self.max_seconds));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn policy() -> ClaimsPolicy {
        ClaimsPolicy {
            issuer: "https://issuer".to_owned(),
            max_seconds: 3600,
        }
    }

    fn claims() -> Value {
        json!({
            "aud": ["https://issuer"], "exp": NOW + 3600, "iat": NOW, "nbf": NOW,
            "iss": "https://issuer", "jti": "x", "sub": "system:serviceaccount:ns:name",
            "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "name", "uid": "u"}},
        })
    }

    fn check(claims: &Value) -> Result<(), ClaimsError> {
        policy().check(&URL_SAFE_NO_PAD.encode(claims.to_string()), NOW)
    }

    fn with(key: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[key] = value;
        claims
    }

    #[test]
    fn claims_of_a_service_account_are_signed() {
        assert_eq!(check(&claims()), Ok(()));
        assert_eq!(check(&with("exp", json!(NOW + 3660))), Ok(()));
    }

    #[test]
    fn others_are_not() {
        assert!(matches!(
            check(&with("iss", json!("https://x"))),
            Err(ClaimsError::Issuer { .. })
        ));
        assert!(matches!(
            check(&with("sub", json!("system:admin"))),
            Err(ClaimsError::Subject(_))
        ));
        assert!(matches!(
            check(&with("exp", json!(NOW + 3661))),
            Err(ClaimsError::Life(3661, _))
        ));
        assert!(matches!(
            check(&with("exp", json!(NOW - 61))),
            Err(ClaimsError::Life(-61, _))
        ));
        assert!(matches!(
            check(&with("exp", json!("soon"))),
            Err(ClaimsError::Form(_))
        ));
        assert!(matches!(
            check(&with("kubernetes.io", json!({}))),
            Err(ClaimsError::Form(_))
        ));
        let other = json!({"namespace": "ns", "serviceaccount": {"name": "other"}});
        assert!(matches!(
            check(&with("kubernetes.io", other)),
            Err(ClaimsError::Subject(_))
        ));
        let long = "A".repeat(MAX_CLAIMS + 1);
        assert_eq!(
            policy().check(&long, NOW),
            Err(ClaimsError::TooLong(MAX_CLAIMS + 1))
        );
        for text in ["", "!", "e30", "e30=", "bnVsbA"] {
            assert!(
                matches!(policy().check(text, NOW), Err(ClaimsError::Form(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_life_is_bounded_for_every_exp(exp in any::<i64>()) {
            let signed = check(&with("exp", json!(exp))).is_ok();
            let left = i128::from(exp) - i128::from(NOW);
            prop_assert_eq!(signed, (-60..=3660).contains(&left));
        }
    }
}
