//! Which keys of the datastore an identity can see and touch.

use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Context as _, Result, ensure};
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, Txn, TxnOp, WatchOptions, WatchResponse, WatchStream,
};
use sextant_identity::{Peer, ServiceName};
use sextant_proto::certauthority::{Profile, SignRequest};
use sextant_proto::etcd::etcdserverpb::RangeRequest;
use sextant_proto::etcd::etcdserverpb::kv_client::KvClient;

/// An etcd client of datastore-proxy with a certificate of its own.
pub async fn etcd(plane: &Plane, name: &str) -> Result<Client> {
    let address = plane.address(Part::DatastoreProxy).to_string();
    let mesh = plane.enrol(name).await?;
    Ok(mesh.datastore_client(&address, &plane.context).await?)
}

/// Refused by the table, in etcd's words.
fn denied<T>(what: &str, answer: Result<T, etcd_client::Error>) -> Result<()> {
    let Err(error) = answer else {
        anyhow::bail!("{what} was let in");
    };
    let text = error.to_string();
    ensure!(text.contains("permission denied"), "{what}: {text}");
    Ok(())
}

pub async fn ranges_are_cut_by_identity() -> Result<()> {
    let plane = Plane::ready().await?;
    plane.token().await?;
    let mut tokens = etcd(&plane, "token-service").await?;
    let mut kubernetes = etcd(&plane, "kube-apiserver").await?;
    kubernetes.put("/registry/pods/a", "1", None).await?;

    denied("a foreign key", tokens.get("/registry/pods/a", None).await)?;
    let prefix = || Some(GetOptions::new().with_prefix());
    for folder in [
        "/registry/",
        "/sextant/supervisor/",
        "/sextant/cert-authority/",
    ] {
        denied(folder, tokens.get(folder, prefix()).await)?;
        denied(folder, tokens.put(format!("{folder}x"), "1", None).await)?;
        denied(folder, tokens.delete(format!("{folder}x"), None).await)?;
    }
    denied(
        "a foreign prefix",
        kubernetes.get("/sextant/", prefix()).await,
    )?;
    // Peeping by a comparison alone.
    let peep = Txn::new()
        .when([Compare::version("/registry/pods/a", CompareOp::Greater, 0)])
        .and_then([TxnOp::put("/sextant/token-service/x", "1", None)]);
    denied("a foreign comparison", tokens.txn(peep).await)?;
    denied("a compaction", tokens.compact(1, None).await)?;
    denied("a snapshot", tokens.snapshot().await)?;

    let everything = GetOptions::new().with_all_keys().with_keys_only();
    let seen = tokens.get("", Some(everything)).await?;
    let seen: Vec<&[u8]> = seen.kvs().iter().map(|pair| pair.key()).collect();
    ensure!(!seen.is_empty(), "token-service doesn't see its own keys");
    let own = |key: &&[u8]| key.starts_with(b"/sextant/token-service/");
    ensure!(seen.iter().all(own), "token-service sees foreign keys");

    watches_are_cut(&mut tokens, &mut kubernetes).await?;
    leases_have_owners(&mut tokens, &mut kubernetes).await?;
    certificates_decide(&plane).await
}

async fn watches_are_cut(tokens: &mut Client, kubernetes: &mut Client) -> Result<()> {
    let everything = WatchOptions::new().with_all_keys();
    let mut events = tokens.watch("", Some(everything)).await?;
    kubernetes.put("/registry/pods/b", "1", None).await?;
    tokens.put("/sextant/token-service/z", "1", None).await?;
    let message = next(&mut events).await?;
    let keys: Vec<&[u8]> = message
        .events()
        .iter()
        .filter_map(|e| Some(e.kv()?.key()))
        .collect();
    ensure!(
        keys == [b"/sextant/token-service/z"],
        "the watch showed {keys:?}"
    );

    let foreign = WatchOptions::new().with_prefix();
    let refused = match tokens.watch("/registry/", Some(foreign)).await {
        Err(error) => error.to_string(),
        Ok(mut events) => match next(&mut events).await {
            Ok(message) => message.cancel_reason().to_owned(),
            Err(error) => error.to_string(),
        },
    };
    ensure!(
        refused.contains("permission denied"),
        "a foreign watch: {refused:?}"
    );
    Ok(())
}

/// The next message that says something.
async fn next(events: &mut WatchStream) -> Result<WatchResponse> {
    loop {
        let message = tokio::time::timeout(SOON, events.message()).await;
        let message = message.context("no event came")??;
        let message = message.context("the watch ended")?;
        if message.canceled() || !message.events().is_empty() {
            return Ok(message);
        }
    }
}

async fn leases_have_owners(tokens: &mut Client, kubernetes: &mut Client) -> Result<()> {
    let lease = kubernetes.lease_grant(600, None).await?.id();
    denied("revoking a foreign lease", tokens.lease_revoke(lease).await)?;
    let with = etcd_client::PutOptions::new().with_lease(lease);
    let borrowed = tokens
        .put("/sextant/token-service/l", "1", Some(with))
        .await;
    denied("a foreign lease", borrowed)?;
    kubernetes.lease_revoke(lease).await?;
    Ok(())
}

/// Without a certificate of the datastore's own authority there is no connection, and who has no business there
/// gets none.
async fn certificates_decide(plane: &Plane) -> Result<()> {
    let mesh = plane.enrol("kube-scheduler").await?;
    let request = SignRequest {
        profile: Profile::DatastoreClient.into(),
        csr: sextant_identity::KeyPair::generate()?.csr_der()?.into(),
        ..Default::default()
    };
    let answer = mesh.cert_authority().sign(request).await;
    let code = answer.err().map(|status| status.code());
    ensure!(
        code == Some(tonic::Code::PermissionDenied),
        "kube-scheduler asked for a datastore certificate: {code:?}"
    );
    let address = plane.address(Part::DatastoreProxy).to_string();
    let channel = mesh.channel(&address, Peer::Service(ServiceName::DatastoreProxy));
    let answer = KvClient::new(channel).range(RangeRequest::default()).await;
    let status = answer.err().context("a mesh certificate was enough")?;
    ensure!(
        status.code() == tonic::Code::Unavailable,
        "a mesh certificate: {status}"
    );
    Ok(())
}
