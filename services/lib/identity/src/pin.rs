//! The first contact with a supervisor: HTTPS whose authority is known by hash only.

use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// SHA-256 of the mesh CA bundle PEM, as a join token carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaHash(pub [u8; 32]);

/// A connection to a supervisor's join API whose anchors are pinned.
#[derive(Debug)]
pub struct PinnedClient {}

impl PinnedClient {
    /// Fetches `/cacerts` without trust, compares its SHA-256 with `hash`, and connects again trusting exactly
    /// these anchors and `service/supervisor` of one trust domain. Nothing secret is sent before.
    pub async fn connect(address: &str, hash: CaHash) -> Result<Self, Error> {
        let _ = (address, hash);
        unimplemented!()
    }
    /// Connects trusting `anchors_pem`, e.g. those of an enrolment folder.
    pub async fn connect_trusting(address: &str, anchors_pem: &str) -> Result<Self, Error> {
        let _ = (address, anchors_pem);
        unimplemented!()
    }
    /// The pinned anchors, PEM.
    pub fn ca_pem(&self) -> &str {
        unimplemented!()
    }
    /// TLS exporter of this connection, label `sextant_proto::join::REJOIN_EXPORTER_LABEL`.
    pub fn exporter(&self) -> &[u8; 32] {
        unimplemented!()
    }
    /// GET, answer as JSON. A refusal is [`Error::Refused`] with the `ErrorBody`'s code and message.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Error> {
        let _ = path;
        unimplemented!()
    }
    /// POST JSON, answer as JSON; `bearer` goes into the Authorization header.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &mut self,
        path: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<T, Error> {
        let _ = (path, bearer, body);
        unimplemented!()
    }
}

/// A join token as its holder sees it: `K10<sha256>::<id>:<secret>`.
impl std::str::FromStr for CaHash {
    type Err = Error;
    fn from_str(token: &str) -> Result<Self, Error> {
        let _ = token;
        unimplemented!()
    }
}
