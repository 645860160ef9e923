//! The last configuration, for starts without a supervisor.

use super::identity::parse;
use super::{State, read_optional, write_if_changed};
use crate::error::Error;
use sextant_proto::supervisor::NodeConfig;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The node's configuration: followed in memory, kept on disk.
#[derive(Clone, Debug)]
pub struct Last {
    path: PathBuf,
    current: watch::Sender<Arc<NodeConfig>>,
}

impl Last {
    /// The configuration kept in `state`, if any.
    pub fn read(state: &State) -> Result<Option<NodeConfig>, Error> {
        let path = path(state);
        let Some(text) = read_optional(&path)? else {
            return Ok(None);
        };
        parse(&path, &text).map(Some)
    }

    /// Keeps and publishes `config` from now on.
    pub fn new(state: &State, config: NodeConfig) -> Result<Self, Error> {
        let last = Self {
            path: path(state),
            current: watch::Sender::new(Arc::new(config.clone())),
        };
        last.keep(&config)?;
        Ok(last)
    }

    /// Takes over a configuration from a supervisor. A failed write is no reason not to follow it.
    pub fn set(&self, config: NodeConfig) {
        if let Err(error) = self.keep(&config) {
            tracing::warn!(%error, "the new configuration works until the next restart only");
        }
        self.current.send_if_modified(|current| {
            let new = **current != config;
            if new {
                *current = Arc::new(config);
            }
            new
        });
    }

    /// Follows the configuration.
    pub fn follow(&self) -> watch::Receiver<Arc<NodeConfig>> {
        self.current.subscribe()
    }

    fn keep(&self, config: &NodeConfig) -> Result<(), Error> {
        let text = serde_json::to_vec(config)
            .map_err(|e| Error::file("writing", &self.path, std::io::Error::other(e)))?;
        write_if_changed(&self.path, &text).map(|_| ())
    }
}

fn path(state: &State) -> PathBuf {
    state.folder().join("config.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_finds_the_last_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::new(folder.path());
        assert_eq!(Last::read(&state).unwrap(), None);
        let last = Last::new(&state, NodeConfig::default()).unwrap();
        let mut follow = last.follow();
        last.set(NodeConfig::default());
        assert!(!follow.has_changed().unwrap());
        let config = NodeConfig {
            pod_cidr: "10.244.1.0/24".into(),
            ..NodeConfig::default()
        };
        last.set(config.clone());
        assert_eq!(**follow.borrow_and_update(), config);
        assert_eq!(Last::read(&state).unwrap(), Some(config));
    }
}
