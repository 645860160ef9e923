//! Getting and keeping a mesh certificate.

use crate::channel::{Channel, Dial, Peer};
use crate::error::Error;
use crate::identity::{Identity, ServiceName};
use crate::key::{Credentials, KeyPair};
use crate::mesh::Mesh;
use crate::renew::{self, Clock};
use crate::tls::{self, Wanted};
use crate::trust::{self, TrustBundle};
use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_hosting::{ApiConfig, Client, ConfigMap};
use sextant_kit::Context;
use sextant_kit::backoff::{self, Backoff};
use sextant_proto::certauthority::cert_authority_client::CertAuthorityClient;
use sextant_proto::certauthority::{EnrollRequest, RenewRequest, WatchTrustRequest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::{Code, Status};
use zeroize::Zeroizing;

pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// The anchors, as a file and as a key.
const ANCHORS: &str = "ca.pem";

/// Where to enrol.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollConfig {
    /// `host:port` of cert-authority.
    pub cert_authority: String,
    /// Folder with the files `token` and `ca.pem`, which cert-authority keeps fresh; hosted in another cluster, with the
    /// projected ServiceAccount token `token`.
    pub folder: PathBuf,
    /// ConfigMap of the hosting cluster whose key `ca.pem` takes the place of the file; empty when not hosted.
    pub trust_config_map: String,
    /// The API of the hosting cluster, for that ConfigMap.
    pub hosting_api: ApiConfig,
}

impl Default for EnrollConfig {
    fn default() -> Self {
        Self {
            cert_authority: crate::mesh::CERT_AUTHORITY.to_owned(),
            folder: "/enrol".into(),
            trust_config_map: String::new(),
            hosting_api: ApiConfig::default(),
        }
    }
}

impl EnrollConfig {
    /// Whom to trust before anything secret is sent, PEM.
    async fn anchors(&self) -> Result<String, Error> {
        if self.trust_config_map.is_empty() {
            return read(&self.folder.join(ANCHORS)).await;
        }
        let client = Client::new(&self.hosting_api)?;
        let name = &self.trust_config_map;
        let map: Option<ConfigMap> = client.get(name).await?;
        let pem = map.and_then(|mut map| map.data.remove(ANCHORS));
        pem.ok_or_else(|| Error::Invalid {
            what: format!("ConfigMap {name}"),
            reason: format!("it isn't there or has no {ANCHORS}: cert-authority writes it"),
        })
    }
}

impl Mesh {
    /// Enrols with the token and pinned CA in the enrolment folder, waiting with back-off for both and for
    /// cert-authority; then renews in the background at half life, follows trust, and enrols again when expired
    /// or refused. Readiness task `identity` says what it waits for. Fails only when drained.
    pub async fn enroll(
        config: &EnrollConfig,
        identity: Identity,
        ctx: &Context,
    ) -> Result<Mesh, Error> {
        Self::enroll_with_clock(config, identity, ctx, renew::system_clock()).await
    }

    /// [`Self::enroll`] with a clock that decides when to renew.
    pub async fn enroll_with_clock(
        config: &EnrollConfig,
        identity: Identity,
        ctx: &Context,
        clock: Clock,
    ) -> Result<Mesh, Error> {
        renew::register(&ctx.metrics);
        let task = ctx.readiness.task("identity");
        let what = format!("enrolling as {identity}");
        let first = backoff::retry(&what, &task, Backoff::default(), &ctx.drain, || {
            enroll(config, &identity)
        });
        let (credentials, bundle) = first.await.ok_or(Error::Drained(what))?;
        let not_after = tls::utc(credentials.not_after);
        tracing::info!(%identity, trust_domain = %bundle.trust_domain, not_after, "enrolled");
        task.ready();

        let (credentials_sender, credentials) = watch::channel(Arc::new(credentials));
        let (trust_sender, trust) = watch::channel(Arc::new(bundle));
        let trust_sender = Arc::new(trust_sender);
        let mesh = Mesh::from_parts(identity.clone(), credentials, trust)
            .with_cert_authority(&config.cert_authority);
        mesh.secure_telemetry();

        let renewal = Renewal {
            config: config.clone(),
            mesh: mesh.clone(),
            trust: trust_sender,
        };
        let following = follow_trust(mesh.clone(), Arc::clone(&renewal.trust));
        ctx.drain.spawn(following);
        let drain = ctx.drain.clone();
        tokio::spawn(async move {
            let issue = |expired| renewal.issue(expired);
            renew::keep(
                "mesh certificate",
                credentials_sender,
                task,
                clock,
                &drain,
                issue,
            )
            .await;
        });
        Ok(mesh)
    }
}

struct Renewal {
    config: EnrollConfig,
    mesh: Mesh,
    trust: Arc<watch::Sender<Arc<TrustBundle>>>,
}

impl Renewal {
    /// Renews with the current certificate while it is good, else enrols again.
    async fn issue(&self, expired: bool) -> Result<Credentials, Error> {
        if !expired {
            match self.renew().await {
                Err(Error::Refused { reason, .. }) => {
                    tracing::warn!(reason, "renewal refused, enrolling again");
                }
                other => return other,
            }
        }
        let (credentials, bundle) = enroll(&self.config, self.mesh.identity()).await?;
        publish(&self.trust, bundle);
        Ok(credentials)
    }

    async fn renew(&self) -> Result<Credentials, Error> {
        let key = KeyPair::generate()?;
        let mut request = tonic::Request::new(RenewRequest {
            csr: key.csr_der()?.into(),
        });
        request.set_timeout(CALL_DEADLINE);
        let answer = self.mesh.cert_authority().renew(request).await;
        let address = &self.config.cert_authority;
        let answer = answer.map_err(|status| refusal(address, "to renew", status))?;
        let bundle = Arc::clone(&self.mesh.trust().borrow());
        let credentials = Credentials::new(chain(answer.into_inner().chain), key)?;
        confirm(&credentials, self.mesh.identity(), &bundle)?;
        Ok(credentials)
    }
}

/// One attempt: reads the folder, which may have changed since the last, and asks cert-authority.
async fn enroll(
    config: &EnrollConfig,
    identity: &Identity,
) -> Result<(Credentials, TrustBundle), Error> {
    let token = Zeroizing::new(read(&config.folder.join("token")).await?);
    let anchors = trust::anchors_from_pem(&config.anchors().await?)?;
    let peer = Peer::Service(ServiceName::CertAuthority);
    let wanted = Wanted {
        trust_domain: None,
        peer,
    };
    let dial = Dial::new(tls::client_config(&anchors, wanted, None, &[b"h2"])?, None);
    let channel = Channel::new(&config.cert_authority, watch::channel(Arc::new(dial)).1, 1);

    let key = KeyPair::generate()?;
    let csr = key.csr_der()?.into();
    let mut request = tonic::Request::new(EnrollRequest {
        token: token.trim().to_owned(),
        csr,
    });
    request.set_timeout(CALL_DEADLINE);
    let answer = CertAuthorityClient::new(channel).enroll(request).await;
    let answer = answer.map_err(|status| refusal(&config.cert_authority, "to enrol", status))?;
    let answer = answer.into_inner();
    let bundle = answer.trust.ok_or_else(|| Error::Invalid {
        what: "answer to Enroll".to_owned(),
        reason: "it holds no trust bundle".to_owned(),
    })?;
    let bundle = TrustBundle::try_from(bundle)?;
    let credentials = Credentials::new(chain(answer.chain), key)?;
    confirm(&credentials, identity, &bundle)?;
    Ok((credentials, bundle))
}

/// What we were given must be what we asked for, or every peer would refuse it later with less to say.
fn confirm(
    credentials: &Credentials,
    identity: &Identity,
    bundle: &TrustBundle,
) -> Result<(), Error> {
    let wrong = |reason: String| Error::Invalid {
        what: "mesh certificate".to_owned(),
        reason,
    };
    let leaf = credentials
        .chain
        .first()
        .ok_or_else(|| wrong("no certificate".to_owned()))?;
    let found = tls::identity_of(leaf, Some(&bundle.trust_domain))?;
    if found != *identity {
        return Err(wrong(format!(
            "cert-authority certified {found}, but this is {identity}: is another part's \
             enrolment folder mounted here?"
        )));
    }
    Ok(())
}

/// Follows WatchTrust for the life of the process.
async fn follow_trust(mesh: Mesh, sender: Arc<watch::Sender<Arc<TrustBundle>>>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut client = mesh.cert_authority();
    loop {
        match client.watch_trust(WatchTrustRequest {}).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                while let Ok(Some(bundle)) = stream.message().await {
                    backoff.reset();
                    match TrustBundle::try_from(bundle) {
                        Ok(bundle) => publish(&sender, bundle),
                        Err(error) => tracing::error!(%error, "cert-authority sent broken trust"),
                    }
                }
            }
            Err(status) => tracing::debug!(reason = status.message(), "following trust"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Trust never goes back to an older generation.
fn publish(sender: &watch::Sender<Arc<TrustBundle>>, bundle: TrustBundle) {
    sender.send_if_modified(|current| {
        let newer = bundle.generation >= current.generation && bundle != **current;
        if newer {
            tracing::info!(generation = bundle.generation, "trust changed");
            *current = Arc::new(bundle);
        }
        newer
    });
}

pub(crate) fn chain(chain: Vec<Bytes>) -> Vec<CertificateDer<'static>> {
    chain
        .into_iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect()
}

/// Refusals are decisions; everything else is a peer that can't be reached or can't answer now.
pub(crate) fn refusal(address: &str, what: &str, status: Status) -> Error {
    let reason = status.message().to_owned();
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument => Error::Refused {
            address: address.to_owned(),
            what: what.to_owned(),
            reason,
        },
        code if reason.is_empty() => Error::Peer {
            address: address.to_owned(),
            reason: code.description().to_owned(),
        },
        _ => Error::Peer {
            address: address.to_owned(),
            reason,
        },
    }
}

async fn read(path: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::File {
            action: "reading",
            path: path.to_owned(),
            source,
        })
}
