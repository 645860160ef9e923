//! A node, as far as joining goes: its keys, the join API, coming back. Also as a process of its own, which can
//! live at another time of day.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sextant_identity::pin::{CaHash, PinnedClient};
use sextant_identity::{Credentials, Identity, KeyPair, Mesh, TrustBundle};
use sextant_proto::join::{JoinRequest, JoinResponse, RejoinNonce, RejoinRequest, rejoin_message};
use sextant_proto::supervisor::{NodeCertificateRequests, Trust};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

/// A machine that wants to be a node.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub key: KeyPair,
    pub requests: NodeCertificateRequests,
}

/// Somebody with a certificate of the mesh.
pub struct Member {
    pub mesh: Mesh,
}

impl Member {
    pub fn new(identity: Identity, certificate: &str, key: KeyPair, trust: Trust) -> Result<Self> {
        let credentials = Credentials::from_pem(certificate, key)?;
        let (_, credentials) = watch::channel(Arc::new(credentials));
        let (_, trust) = watch::channel(Arc::new(TrustBundle::try_from(trust)?));
        let mesh = Mesh::from_parts(identity, credentials, trust);
        Ok(Self { mesh })
    }
}

impl Node {
    /// A machine with a key of its own.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_key(name, KeyPair::generate()?)
    }

    /// A machine whose mesh key is known.
    pub fn with_key(name: &str, key: KeyPair) -> Result<Self> {
        let other = || KeyPair::generate()?.csr_pem();
        let requests = NodeCertificateRequests {
            mesh: key.csr_pem()?,
            kubelet_client: other()?,
            kubelet_serving: other()?,
            kube_proxy: other()?,
            addresses: vec!["172.30.0.7".to_owned()],
        };
        Ok(Self {
            name: name.to_owned(),
            key,
            requests,
        })
    }

    /// Joins as node-agent does: the token pins the authority before it is sent.
    pub async fn join(&self, address: &str, token: &str) -> Result<JoinResponse> {
        let hash: CaHash = token.parse()?;
        let mut client = PinnedClient::connect(address, hash).await?;
        self.join_over(&mut client, token).await
    }

    /// Joins over a connection that is there.
    pub async fn join_over(&self, client: &mut PinnedClient, token: &str) -> Result<JoinResponse> {
        let request = JoinRequest {
            node_name: self.name.clone(),
            requests: self.requests.clone(),
        };
        Ok(client.post("/v1/join", Some(token), &request).await?)
    }

    /// Proves its key.
    pub async fn rejoin(&self, client: &mut PinnedClient) -> Result<JoinResponse> {
        let nonce: RejoinNonce = client.get("/v1/rejoin/nonce").await?;
        let message = rejoin_message(
            &STANDARD.decode(&nonce.nonce)?,
            client.exporter(),
            &self.name,
        );
        let request = RejoinRequest {
            node_name: self.name.clone(),
            public_key: STANDARD.encode(self.key.public_key_spki_der()),
            nonce: nonce.nonce,
            signature: STANDARD.encode(self.key.sign(&message)?),
            requests: self.requests.clone(),
        };
        Ok(client.post("/v1/rejoin", None, &request).await?)
    }

    /// A member of the mesh by what joining brought.
    pub fn member(&self, response: JoinResponse) -> Result<Member> {
        let identity = Identity::Node(self.name.parse()?);
        Member::new(
            identity,
            &response.certificates.mesh,
            self.key.clone(),
            response.trust,
        )
    }
}

/// `node <address> <name> <folder>`: joins with `<folder>/token` and leaves `<folder>/key.pem` and
/// `<folder>/joined.json` there.
pub fn main() -> ExitCode {
    let joined = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(join_and_keep()));
    match joined {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn join_and_keep() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, folder] = arguments.as_slice() else {
        bail!("usage: node <address> <name> <folder>");
    };
    let folder = PathBuf::from(folder);
    let token = std::fs::read_to_string(folder.join("token")).context("reading the token")?;
    let node = Node::new(name)?;
    let response = node.join(address, token.trim()).await?;
    std::fs::write(
        folder.join("key.pem"),
        node.key.private_key_pem().as_bytes(),
    )?;
    let text = serde_json::to_vec(&response)?;
    Ok(std::fs::write(folder.join("joined.json"), text)?)
}

/// What the process [`main`] left in its folder.
pub fn kept(name: &str, folder: &Path) -> Result<(Node, JoinResponse)> {
    let pem = std::fs::read_to_string(folder.join("key.pem"))?;
    let node = Node::with_key(name, KeyPair::from_pem(&pem)?)?;
    let response = serde_json::from_slice(&std::fs::read(folder.join("joined.json"))?)?;
    Ok((node, response))
}
