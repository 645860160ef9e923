//! The node's keys, certificates and anchors.

use super::{read_optional, write_if_changed, write_private, write_public};
use crate::domain::overlay::Mac;
use crate::error::Error;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use sextant_identity::{Credentials, KeyPair, TrustBundle, trust::certificates_from_pem};
use sextant_proto::supervisor::{NodeCertificateRequests, NodeCertificates, Trust};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What one of the node's certificates is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// kube-proxy's client certificate.
    KubeProxy,
    /// The kubelet's client certificate.
    KubeletClient,
    /// The kubelet's serving certificate.
    KubeletServing,
}

/// The keys of one round of requests. The mesh key stays for the node's life: a rejoin proves it.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Key of the mesh identity.
    pub mesh: KeyPair,
    kubelet_client: KeyPair,
    kubelet_serving: KeyPair,
    kube_proxy: KeyPair,
}

/// The state folder.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

impl Keys {
    /// Requests for all four certificates.
    pub fn requests(&self, addresses: Vec<String>) -> Result<NodeCertificateRequests, Error> {
        Ok(NodeCertificateRequests {
            mesh: self.mesh.csr_pem()?,
            kubelet_client: self.kubelet_client.csr_pem()?,
            kubelet_serving: self.kubelet_serving.csr_pem()?,
            kube_proxy: self.kube_proxy.csr_pem()?,
            addresses,
        })
    }
}

impl State {
    /// The state in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The file of a certificate and its key.
    pub fn pem(&self, purpose: Purpose) -> PathBuf {
        self.folder.join(match purpose {
            Purpose::KubeProxy => "kube-proxy.pem",
            Purpose::KubeletClient => "kubelet-client.pem",
            Purpose::KubeletServing => "kubelet-serving.pem",
        })
    }

    /// Anchors of the API servers.
    pub fn cluster_server_ca(&self) -> PathBuf {
        self.folder.join("ca/cluster-server.pem")
    }

    /// Anchors of the kubelet's clients.
    pub fn cluster_client_ca(&self) -> PathBuf {
        self.folder.join("ca/cluster-client.pem")
    }

    /// Fresh keys, and the mesh key that is there already. It is on disk before it is used, so that a join that
    /// was cut off can be repeated with the same key.
    pub fn keys(&self) -> Result<Keys, Error> {
        let path = self.folder.join("mesh.key");
        let mesh = match read_optional(&path)? {
            Some(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem))?,
            None => {
                let key = KeyPair::generate()?;
                write_private(&path, key.private_key_pem().as_bytes())?;
                key
            }
        };
        Ok(Keys {
            mesh,
            kubelet_client: KeyPair::generate()?,
            kubelet_serving: KeyPair::generate()?,
            kube_proxy: KeyPair::generate()?,
        })
    }

    /// Keeps what a supervisor answered to the requests of `keys`.
    pub fn install(
        &self,
        keys: &Keys,
        certificates: &NodeCertificates,
    ) -> Result<Credentials, Error> {
        let mesh = credentials(&certificates.mesh, &keys.mesh)?;
        for (purpose, key, chain) in [
            (
                Purpose::KubeProxy,
                &keys.kube_proxy,
                &certificates.kube_proxy,
            ),
            (
                Purpose::KubeletClient,
                &keys.kubelet_client,
                &certificates.kubelet_client,
            ),
            (
                Purpose::KubeletServing,
                &keys.kubelet_serving,
                &certificates.kubelet_serving,
            ),
        ] {
            let credentials = credentials(chain, key)?;
            // One file for both, so that the renewal is one rename.
            let mut pem = zeroize::Zeroizing::new(credentials.chain_pem());
            pem.push_str(&key.private_key_pem());
            write_private(&self.pem(purpose), pem.as_bytes())?;
        }
        // Last: a mesh certificate on disk means that all the others are there.
        write_public(&self.folder.join("mesh.crt"), certificates.mesh.as_bytes())?;
        Ok(mesh)
    }

    /// The mesh certificate and key of an earlier join, valid or not.
    pub fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let Some(chain) = read_optional(&self.folder.join("mesh.crt"))? else {
            return Ok(None);
        };
        let Some(key) = read_optional(&self.folder.join("mesh.key"))? else {
            return Ok(None);
        };
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&key))?;
        credentials(&String::from_utf8_lossy(&chain), &key).map(Some)
    }

    /// Keeps new anchors, also as the files that upstream components read.
    pub fn install_trust(&self, trust: &Trust) -> Result<TrustBundle, Error> {
        let bundle = TrustBundle::try_from(trust.clone())?;
        for (path, pem) in [
            (self.cluster_server_ca(), &trust.cluster_server_pem),
            (self.cluster_client_ca(), &trust.cluster_client_pem),
        ] {
            write_if_changed(&path, pem.as_bytes())?;
        }
        let text = serde_json::to_vec(trust).map_err(|e| Error::Join(format!("anchors: {e}")))?;
        write_if_changed(&self.folder.join("trust.json"), &text)?;
        Ok(bundle)
    }

    /// The anchors of an earlier join.
    pub fn trust(&self) -> Result<Option<TrustBundle>, Error> {
        let path = self.folder.join("trust.json");
        let Some(text) = read_optional(&path)? else {
            return Ok(None);
        };
        let trust: Trust = parse(&path, &text)?;
        Ok(Some(TrustBundle::try_from(trust)?))
    }

    /// The hardware address of the VXLAN device: made once, kept, so that peers needn't relearn it.
    pub fn vtep_mac(&self) -> Result<Mac, Error> {
        let path = self.folder.join("vtep-mac");
        let kept =
            read_optional(&path)?.and_then(|t| String::from_utf8_lossy(&t).trim().parse().ok());
        if let Some(mac) = kept {
            return Ok(mac);
        }
        let mut bytes = [0; 6];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Error::Join("the system gave no random bytes".into()))?;
        let mac = Mac::local(bytes);
        write_public(&path, mac.to_string().as_bytes())?;
        Ok(mac)
    }

    /// The addresses in the node's certificates; none if they aren't known.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let text = read_optional(&self.folder.join("addresses"))
            .ok()
            .flatten()
            .unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }

    /// Keeps the addresses that certificates were asked for.
    pub fn set_addresses(&self, addresses: &[IpAddr]) -> Result<(), Error> {
        let lines: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        write_if_changed(&self.folder.join("addresses"), lines.join("\n").as_bytes()).map(|_| ())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Parses a JSON file of ours.
pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|e| Error::file("reading", path, std::io::Error::other(e)))
}

fn credentials(chain_pem: &str, key: &KeyPair) -> Result<Credentials, Error> {
    Ok(Credentials::new(
        certificates_from_pem(chain_pem)?,
        key.clone(),
    )?)
}
