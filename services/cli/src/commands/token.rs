//! `sextant token create`, `list` and `revoke`
use super::join::{NodeContainer, shell};
use crate::args::TokenCreate;
use crate::duration;
use crate::output::{Table, Timestamp, View};
use serde::Serialize;
use sextant_proto::supervisor::{
    CreateTokenRequest, CreateTokenResponse, ListTokensResponse, TokenInfo,
};
use std::path::PathBuf;
use time::OffsetDateTime;

/// What the cluster is asked for.
#[must_use]
pub fn request(wanted: &TokenCreate) -> CreateTokenRequest {
    CreateTokenRequest {
        node_name: wanted.node.clone().unwrap_or_default(),
        cidrs: wanted.cidr.clone(),
        max_uses: wanted.uses,
        ttl_seconds: i64::try_from(wanted.ttl.as_secs()).unwrap_or(i64::MAX),
        description: wanted.description.clone(),
    }
}

/// A token just made: the only time it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    id: String,
    expires: Option<Timestamp>,
    /// Absent when the token was written to `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// How a node with that file is started, argument by argument; absent without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Vec<String>>,
}

impl NewToken {
    /// Shows the token, or the file that holds it. `network` is the Docker network of the cluster's nodes, if it has
    /// one.
    #[must_use]
    pub fn new(
        response: CreateTokenResponse,
        wanted: &TokenCreate,
        network: Option<String>,
    ) -> Self {
        let CreateTokenResponse {
            token,
            id,
            expires_unix,
            supervisors,
        } = response;
        let file = wanted.output_file.clone();
        let run = file.as_ref().map(|file| {
            let node = NodeContainer {
                name: wanted.node.as_deref().unwrap_or("node-3"),
                token_file: &std::path::absolute(file).unwrap_or_else(|_| file.clone()),
                supervisors: &supervisors,
                network: network.as_deref(),
            };
            node.run()
        });
        Self {
            id,
            expires: Timestamp::from_unix(expires_unix),
            token: file.is_none().then_some(token),
            file,
            run,
        }
    }

    /// What to do with it, for stderr: stdout holds the token and nothing else.
    #[must_use]
    pub fn hint(&self, wanted: &TokenCreate) -> String {
        let node = wanted.node.as_deref();
        let who = node.map_or("any node".to_owned(), |name| format!("node {name}"));
        let uses = if wanted.uses == 1 {
            "once".into()
        } else {
            format!("{} times", wanted.uses)
        };
        let until = duration::human(wanted.ttl);
        let what = format!("Token {} lets {who} join {uses} within {until}.", self.id);
        let how = match &self.run {
            Some(run) => format!(
                "On a machine with Docker, and with this file in its place, the node is started by\n\n{}\n\nThe \
                 container looks for the file at each start, so leave it; the token in it is used up by the join.",
                shell(run)
            ),
            None => "Save it as the file `token` in the node's /join folder, readable by root \
                     alone; --output-file writes such a file and prints how a node is started with it."
                .to_owned(),
        };
        format!("{what}\n{how}\n")
    }
}

impl View for NewToken {
    fn table(&self, _: OffsetDateTime) -> String {
        self.token
            .iter()
            .map(|token| format!("{token}\n"))
            .collect()
    }
}

/// The tokens that the cluster knows, newest first.
#[derive(Debug, Serialize)]
pub struct TokensView {
    tokens: Vec<TokenView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    id: String,
    node: String,
    cidrs: Vec<String>,
    uses: u32,
    max_uses: u32,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    revoked: bool,
    description: String,
}

impl From<ListTokensResponse> for TokensView {
    fn from(response: ListTokensResponse) -> Self {
        let mut tokens: Vec<TokenView> = response.tokens.into_iter().map(TokenView::from).collect();
        tokens.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
        Self { tokens }
    }
}

impl From<TokenInfo> for TokenView {
    fn from(token: TokenInfo) -> Self {
        Self {
            id: token.id,
            node: token.node_name,
            cidrs: token.cidrs,
            uses: token.uses,
            max_uses: token.max_uses,
            created: Timestamp::from_unix(token.created_unix),
            expires: Timestamp::from_unix(token.expires_unix),
            revoked: token.revoked,
            description: token.description,
        }
    }
}

impl TokenView {
    fn state(&self, now: OffsetDateTime) -> &'static str {
        if self.revoked {
            "revoked"
        } else if self.expires.is_some_and(|expires| expires.is_past(now)) {
            "expired"
        } else if self.max_uses != 0 && self.uses >= self.max_uses {
            "used up"
        } else {
            "usable"
        }
    }
}

impl View for TokensView {
    fn table(&self, now: OffsetDateTime) -> String {
        let mut table = Table::new(&[
            "ID",
            "STATE",
            "NODE",
            "NETWORKS",
            "USES",
            "EXPIRES",
            "DESCRIPTION",
        ]);
        for token in &self.tokens {
            table.row([
                token.id.clone(),
                token.state(now).to_owned(),
                if token.node.is_empty() {
                    "any".into()
                } else {
                    token.node.clone()
                },
                if token.cidrs.is_empty() {
                    "any".into()
                } else {
                    token.cidrs.join(",")
                },
                format!("{}/{}", token.uses, token.max_uses),
                token
                    .expires
                    .map(|expires| expires.relative(now))
                    .unwrap_or_default(),
                token.description.clone(),
            ]);
        }
        table.render()
    }
}

/// A token that is useless now.
#[derive(Debug, Serialize)]
pub struct RevokedToken {
    /// Its id.
    pub revoked: String,
}

impl View for RevokedToken {
    fn table(&self, _: OffsetDateTime) -> String {
        format!("Token {} is revoked.\n", self.revoked)
    }
}
