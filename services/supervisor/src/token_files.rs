//! Join tokens for the nodes that the deployment brings: one file in each node's private volume, while the node
//! hasn't joined.

use crate::domain::token_file::{Action, Known, TTL_SECONDS, decide, token_id};
use crate::error::{Error, within};
use crate::store::mirror::State;
use sextant_identity::Channel;
use sextant_kit::backoff::Backoff;
use sextant_kit::telemetry;
use sextant_proto::tokenservice::join_tokens_client::JoinTokensClient;
use sextant_proto::tokenservice::{CreateRequest, ListRequest, RevokeRequest, Scope};
use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(10);
/// Expiry and use of tokens aren't watched but looked at this often.
const PERIOD: Duration = Duration::from_secs(30);

/// Keeps the files.
#[derive(Clone, Debug)]
pub struct TokenFiles {
    folder: PathBuf,
    nodes: Vec<String>,
    tokens: JoinTokensClient<Channel>,
}

impl TokenFiles {
    /// For `nodes`, each with a folder of its name under `folder`.
    pub fn new(folder: PathBuf, nodes: Vec<String>, tokens: JoinTokensClient<Channel>) -> Self {
        Self {
            folder,
            nodes,
            tokens,
        }
    }

    /// Keeps them right. Never ends; the leader drops it.
    pub async fn run(self, mut state: watch::Receiver<Arc<State>>) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let now = state.borrow_and_update().clone();
            let span = tracing::info_span!("token_files.write");
            let pause = match telemetry::traced(span, self.reconcile(&now)).await {
                Ok(()) => {
                    backoff.reset();
                    PERIOD
                }
                Err(error) => {
                    tracing::warn!(%error, "join tokens of this deployment's nodes not written yet");
                    backoff.next()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.membership_changed(&mut state, &now) => if !changed {
                    return;
                },
            }
        }
    }

    /// Wakes for what matters here: one of the nodes joined or was removed.
    async fn membership_changed(
        &self,
        state: &mut watch::Receiver<Arc<State>>,
        before: &State,
    ) -> bool {
        let joined = |state: &State| -> Vec<bool> {
            self.nodes
                .iter()
                .map(|node| has_joined(state, node))
                .collect()
        };
        let before = (before.known, joined(before));
        state
            .wait_for(|now| (now.known, joined(now)) != before)
            .await
            .is_ok()
    }

    async fn reconcile(&self, state: &State) -> Result<(), Error> {
        if !state.known {
            return Ok(());
        }
        let mut listed = None;
        for node in &self.nodes {
            let folder = self.folder.join(node);
            if !tokio::fs::try_exists(&folder).await.unwrap_or(false) {
                // Not every deployment gives its nodes a volume here.
                continue;
            }
            let path = folder.join("token");
            let content = tokio::fs::read_to_string(&path).await.unwrap_or_default();
            let joined = has_joined(state, node);
            if listed.is_none() && !(joined && content.is_empty()) {
                listed = Some(self.list().await?);
            }
            // The node may write there too: what it names counts only if it is a token for this very node.
            let found = token_id(&content).and_then(|id| {
                let key = (node.clone(), id.to_owned());
                listed.as_ref()?.get(&key).map(|known| (id, *known))
            });
            let known = found.map(|(_, known)| known);
            match decide(joined, content.is_empty(), known, crate::clock::now()) {
                Action::Keep => {}
                Action::Clear => {
                    if let Some((id, known)) = found
                        && known.is_usable()
                    {
                        self.revoke(id).await?;
                    }
                    write(&path, "").await?;
                }
                Action::Write => {
                    write(&path, &format!("{}\n", self.create(node).await?)).await?;
                    tracing::info!(node, "a join token lies in the node's volume");
                }
            }
        }
        Ok(())
    }

    /// All tokens by the node that they are for, and their id.
    async fn list(&self) -> Result<HashMap<(String, String), Known>, Error> {
        let what = "token-service: listing tokens";
        let mut client = self.tokens.clone();
        let answer = within(what, DEADLINE, async {
            client
                .list(ListRequest {})
                .await
                .map_err(|status| Error::peer(what, status))
        })
        .await?;
        let known = answer.into_inner().tokens.into_iter().map(|token| {
            let scope = token.scope.unwrap_or_default();
            let most = scope.max_uses;
            let known = Known {
                expires_unix: token.expires_unix,
                used_up: most != 0 && token.uses >= most,
                revoked: token.revoked,
            };
            ((scope.node_name, token.id), known)
        });
        Ok(known.collect())
    }

    async fn revoke(&self, id: &str) -> Result<(), Error> {
        let what = format!("token-service: revoking token {id}");
        let mut client = self.tokens.clone();
        let request = RevokeRequest { id: id.to_owned() };
        within(&what, DEADLINE, async {
            let revoked = client.revoke(request).await;
            revoked.map_err(|status| Error::peer(&what, status))
        })
        .await?;
        Ok(())
    }

    async fn create(&self, node: &str) -> Result<String, Error> {
        let what = format!("token-service: creating the join token of {node}");
        let mut client = self.tokens.clone();
        let request = CreateRequest {
            scope: Some(Scope {
                node_name: node.to_owned(),
                cidrs: Vec::new(),
                max_uses: 1,
            }),
            description: format!("{node}, a node of this deployment"),
            ttl_seconds: TTL_SECONDS,
        };
        let answer = within(&what, DEADLINE, async {
            client
                .create(request)
                .await
                .map_err(|status| Error::peer(&what, status))
        })
        .await?;
        Ok(answer.into_inner().secret)
    }
}

/// A node that registered but was never seen may have lost the answer: it still needs its token.
fn has_joined(state: &State, node: &str) -> bool {
    state
        .node(node)
        .is_some_and(|record| record.first_session_unix != 0)
}

/// Replaces the file whole: readers see the old or the new content, never a part.
async fn write(path: &Path, content: &str) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let failed = |source| Error::io(format!("writing {}", path.display()), source);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = tokio::fs::OpenOptions::from(options)
        .open(&temporary)
        .await
        .map_err(failed)?;
    file.write_all(content.as_bytes()).await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    tokio::fs::rename(&temporary, path).await.map_err(failed)
}
