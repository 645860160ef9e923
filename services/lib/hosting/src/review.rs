//! TokenReview: whose ServiceAccount token this is, asked of the cluster that made it.

use crate::client::Client;
use crate::error::Error;
use http::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What the hosting cluster says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Review {
    /// Whether it is good for somebody.
    pub authenticated: bool,
    /// Those of the asked audiences that it is for. Empty from a server that doesn't know audiences.
    pub audiences: Vec<String>,
    /// Whose it is.
    pub user: User,
    /// Why it is no good.
    pub error: String,
}

/// Whose a token is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// The name, e.g. `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// What else is known, e.g. the pod it was given to.
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ask<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    status: Review,
}

impl Client {
    /// Asks whose `token` is, and whether it is for `audience`.
    pub async fn review(&self, token: &str, audience: &str) -> Result<Review, Error> {
        let ask = Ask {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: Spec {
                token,
                audiences: [audience],
            },
        };
        let answer: Answer = self.send(Method::POST, PATH, &ask).await?;
        Ok(answer.status)
    }
}
