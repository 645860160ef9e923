//! Certificates of other profiles, each with a key of its own, that renew themselves.

use crate::enroll::{CALL_DEADLINE, chain, refusal};
use crate::error::Error;
use crate::key::{Credentials, KeyPair};
use crate::mesh::Mesh;
use crate::renew;
use sextant_kit::Context;
use sextant_kit::backoff::{self, Backoff};
use sextant_proto::certauthority::{NodeSubject, Profile, SignRequest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// What to ask cert-authority for.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafRequest {
    /// Row of the issuing table.
    pub profile: Profile,
    /// For node profiles.
    pub node: Option<NodeSubject>,
    /// Wished life in seconds; 0 takes the profile's.
    pub ttl_seconds: i64,
}

impl From<Profile> for LeafRequest {
    fn from(profile: Profile) -> Self {
        Self {
            profile,
            node: None,
            ttl_seconds: 0,
        }
    }
}

/// A certificate that renews itself at half life until the drain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leaf {
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Leaf {
    /// Obtains it, waiting with back-off (readiness task `certificate <PROFILE>`). Fails only when drained.
    pub async fn obtain(
        mesh: &Mesh,
        request: impl Into<LeafRequest>,
        ctx: &Context,
    ) -> Result<Leaf, Error> {
        let request = request.into();
        let what = format!("certificate {}", name(request.profile));
        let task = ctx.readiness.task(&what);
        let first = backoff::retry(&what, &task, Backoff::default(), &ctx.drain, || {
            sign(mesh, &request)
        });
        let first = first.await.ok_or_else(|| Error::Drained(what.clone()))?;
        task.ready();
        let (sender, credentials) = watch::channel(Arc::new(first));
        let (mesh, drain) = (mesh.clone(), ctx.drain.clone());
        tokio::spawn(async move {
            let clock = renew::system_clock();
            let issue = |_| sign(&mesh, &request);
            renew::keep(&what, sender, task, clock, &drain, issue).await;
        });
        Ok(Leaf { credentials })
    }

    /// A leaf from values that somebody else keeps fresh.
    pub fn from_parts(credentials: watch::Receiver<Arc<Credentials>>) -> Leaf {
        Leaf { credentials }
    }

    /// Chain and key, followed.
    pub fn credentials(&self) -> watch::Receiver<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// Writes `<dir>/<name>.key` (0600), `<dir>/<name>.crt` (0644) and `<dir>/<name>.pem` (0600, chain and key in
    /// one file, so that a reader never sees a key without its certificate) now, and again by rename after each
    /// renewal until the drain.
    pub async fn write_files(&self, dir: &Path, name: &str, ctx: &Context) -> Result<(), Error> {
        let mut credentials = self.credentials();
        let files = Files {
            dir: dir.to_owned(),
            name: name.to_owned(),
        };
        let current = Arc::clone(&credentials.borrow_and_update());
        files.write(&current).await?;
        ctx.drain.spawn(async move {
            while credentials.changed().await.is_ok() {
                let current = Arc::clone(&credentials.borrow_and_update());
                if let Err(error) = files.write(&current).await {
                    tracing::error!(%error, "writing a renewed certificate");
                }
            }
        });
        Ok(())
    }
}

struct Files {
    dir: PathBuf,
    name: String,
}

impl Files {
    async fn write(&self, credentials: &Credentials) -> Result<(), Error> {
        let key = credentials.key.private_key_pem();
        let chain = credentials.chain_pem();
        let both = Zeroizing::new(format!("{chain}{}", key.as_str()));
        self.replace("key", 0o600, key.as_bytes()).await?;
        self.replace("crt", 0o644, chain.as_bytes()).await?;
        self.replace("pem", 0o600, both.as_bytes()).await
    }

    async fn replace(&self, extension: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(format!("{}.{extension}", self.name));
        let partial = self.dir.join(format!(".{}.{extension}.new", self.name));
        let written = async {
            use tokio::io::AsyncWriteExt as _;
            // A leftover of a crash could have another mode.
            if let Err(error) = tokio::fs::remove_file(&partial).await
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error);
            }
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&partial)
                .await?;
            file.write_all(content).await?;
            file.flush().await?;
            tokio::fs::rename(&partial, &path).await
        };
        written.await.map_err(|source| Error::File {
            action: "writing",
            path: path.clone(),
            source,
        })
    }
}

async fn sign(mesh: &Mesh, request: &LeafRequest) -> Result<Credentials, Error> {
    let key = KeyPair::generate()?;
    let mut call = tonic::Request::new(SignRequest {
        profile: request.profile.into(),
        csr: key.csr_der()?.into(),
        node: request.node.clone(),
        ttl_seconds: request.ttl_seconds,
        ..SignRequest::default()
    });
    call.set_timeout(CALL_DEADLINE);
    let answer = mesh.cert_authority().sign(call).await.map_err(|status| {
        let what = format!("to sign {}", name(request.profile));
        refusal(mesh.cert_authority_address(), &what, status)
    })?;
    Credentials::new(chain(answer.into_inner().chain), key)
}

fn name(profile: Profile) -> &'static str {
    let name = profile.as_str_name();
    name.strip_prefix("PROFILE_").unwrap_or(name)
}
