//! The certificate by which kube-apiserver knows metrics-server: a Secret, renewed here, which metrics-server reloads.
//! So the aggregation layer proves whom it tells its callers' names.

use super::objects::{DEADLINE, ObjectId};
use crate::certificates::Issuer;
use crate::error::{Error, within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DynamicObject};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{ServerName, UnixTime};
use serde_json::json;
use sextant_identity::{Credentials, KeyPair, TrustBundle};
use sextant_proto::certauthority::Profile;
use std::sync::Arc;
use std::time::SystemTime;

const NAMESPACE: &str = "kube-system";
const DEPLOYMENT: &str = "metrics-server";
const SECRET: &str = "metrics-server-serving";

/// What kube-apiserver expects in the certificate: the Service's name.
const SERVER: &str = "metrics-server.kube-system.svc";

/// The Secret's name.
pub(super) fn id() -> ObjectId {
    ObjectId {
        api_version: "v1".into(),
        kind: "Secret".into(),
        namespace: Some(NAMESPACE.into()),
        name: SECRET.into(),
    }
}

/// The Secret as it should be now: as it is, or with a new certificate.
pub(super) async fn secret(
    client: &Client,
    issuer: &Issuer,
    trust: &TrustBundle,
) -> Result<DynamicObject, Error> {
    let what = format!("kube-apiserver: reading {}", id());
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let found = within(&what, DEADLINE, async {
        let found = api.get_opt(SECRET).await;
        found.map_err(|error| Error::kube(&what, error))
    })
    .await?;
    let held = found.as_ref().and_then(credentials);
    match held.filter(|held| is_good(held, trust, SystemTime::now())) {
        Some(held) => object(&held),
        None => object(&issue(issuer).await?),
    }
}

/// Whether metrics-server answers.
pub(super) async fn answers(client: &Client) -> bool {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let found = tokio::time::timeout(DEADLINE, api.get_opt(DEPLOYMENT)).await;
    let Ok(Ok(Some(deployment))) = found else {
        return false;
    };
    let ready = deployment.status.and_then(|status| status.ready_replicas);
    ready.is_some_and(|count| count > 0)
}

fn credentials(secret: &Secret) -> Option<Credentials> {
    let data = secret.data.as_ref()?;
    let text = |name: &str| std::str::from_utf8(&data.get(name)?.0).ok();
    let key = KeyPair::from_pem(text("tls.key")?).ok()?;
    Credentials::from_pem(text("tls.crt")?, key).ok()
}

/// Whether kube-apiserver takes it, and it isn't to be renewed yet: that is at half of its life, as everywhere.
fn is_good(held: &Credentials, trust: &TrustBundle, now: SystemTime) -> bool {
    let life = held.not_after.duration_since(held.not_before);
    let renewal = life.map(|life| held.not_before + life / 2);
    renewal.is_ok_and(|renewal| now < renewal) && is_trusted(held, trust, now).is_some()
}

fn is_trusted(held: &Credentials, trust: &TrustBundle, now: SystemTime) -> Option<()> {
    let mut roots = RootCertStore::empty();
    for anchor in &trust.cluster_server {
        roots.add(anchor.clone()).ok()?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .ok()?;
    let (leaf, issuers) = held.chain.split_first()?;
    let name = ServerName::try_from(SERVER).ok()?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = UnixTime::since_unix_epoch(since);
    verifier
        .verify_server_cert(leaf, issuers, &name, &[], now)
        .ok()
        .map(drop)
}

async fn issue(issuer: &Issuer) -> Result<Credentials, Error> {
    let issued = issuer.credentials(Profile::MetricsServerServing).await?;
    tracing::info!("metrics-server has a new certificate");
    Ok(issued)
}

fn object(held: &Credentials) -> Result<DynamicObject, Error> {
    let key = held.key.private_key_pem();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": "sextant"},
        },
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": STANDARD.encode(held.chain_pem()),
            "tls.key": STANDARD.encode(key.as_bytes()),
        },
    });
    serde_json::from_value(secret).map_err(|error| Error::Addon {
        name: "certificate of metrics-server",
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sextant_identity::Authority;
    use sextant_testkit::Root;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn held(root: &Root, authority: Authority, name: &str) -> Credentials {
        let now = SystemTime::now();
        root.sign(
            root.wish(authority)
                .dns(name)
                .valid(now - HOUR, now + 3 * HOUR),
        )
    }

    #[test]
    fn what_was_written_is_read() {
        let held = held(&Root::new(), Authority::ClusterServer, SERVER);
        let object = object(&held).unwrap();
        assert_eq!(ObjectId::of(&object), Some(id()));
        let secret: Secret = serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap();
        let read = credentials(&secret).unwrap();
        assert_eq!(read.chain, held.chain);
        assert_eq!(read.not_after, held.not_after);
    }

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life() {
        let root = Root::new();
        let held = held(&root, Authority::ClusterServer, SERVER);
        let (trust, now) = (root.bundle(), SystemTime::now());
        assert!(is_good(&held, &trust, now));
        assert!(is_good(&held, &trust, now + HOUR - Duration::from_secs(5)));
        assert!(!is_good(&held, &trust, now + HOUR));
        assert!(!is_good(&held, &trust, now + 4 * HOUR));
    }

    #[test]
    fn one_that_kube_apiserver_would_refuse_is_replaced() {
        let root = Root::new();
        let now = SystemTime::now();
        let others = held(&Root::new(), Authority::ClusterServer, SERVER);
        assert!(!is_good(&others, &root.bundle(), now));
        let mesh = held(&root, Authority::Mesh, SERVER);
        assert!(!is_good(&mesh, &root.bundle(), now));
        let name = held(&root, Authority::ClusterServer, "kubernetes.default.svc");
        assert!(!is_good(&name, &root.bundle(), now));
    }

    #[test]
    fn a_broken_secret_is_none() {
        assert!(credentials(&Secret::default()).is_none());
        let text = json!({"data": {"tls.crt": "bm8=", "tls.key": "bm8="}});
        let secret: Secret = serde_json::from_value(text).unwrap();
        assert!(credentials(&secret).is_none());
    }
}
