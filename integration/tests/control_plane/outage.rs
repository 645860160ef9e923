//! Parts that are away for a while: who needs them says so and goes on when they are back.

use crate::node::Node;
use crate::part::Part;
use crate::plane::{Plane, SOON};
use crate::tokens::refused;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use sextant_identity::Channel;
use sextant_proto::supervisor::admin_client::AdminClient;
use sextant_proto::supervisor::{
    CreateTokenRequest, IssueKubeCredentialRequest, KubeAccessRequest, ListTokensRequest,
};
use sextant_testkit::eventually;
use std::time::Duration;
use tonic::Code;

/// A call answers within this, whatever is away.
const ANSWER: Duration = Duration::from_secs(20);

/// A token can be had again.
async fn writes_go_on(admin: &AdminClient<Channel>) {
    eventually(SOON, "a new token", || {
        let mut admin = admin.clone();
        async move { admin.create_token(CreateTokenRequest::default()).await }
    })
    .await;
}

/// A write is refused in time with UNAVAILABLE and words that name the cause.
async fn write_unavailable(admin: &mut AdminClient<Channel>, words: &[&str]) -> Result<()> {
    let asked = admin.create_token(CreateTokenRequest::default());
    let answer = tokio::time::timeout(ANSWER, asked).await;
    let status = answer
        .context("no answer at all")?
        .err()
        .context("a write was acknowledged")?;
    ensure!(
        status.code() == Code::Unavailable,
        "a write answered {:?}: {}",
        status.code(),
        status.message()
    );
    for word in words {
        let text = status.message();
        ensure!(text.contains(word), "{word:?} is missing in: {text}");
    }
    Ok(())
}

/// The token that was there before is there still.
pub async fn still_there(admin: &mut AdminClient<Channel>, id: &str) -> Result<()> {
    let listed = admin.list_tokens(ListTokensRequest {}).await?.into_inner();
    ensure!(
        listed.tokens.iter().any(|token| token.id == id),
        "an acknowledged token is gone"
    );
    Ok(())
}

pub async fn datastore_stands_still() -> Result<()> {
    let plane = Plane::ready().await?;
    let mut admin = plane.admin().await?;
    let token = plane.token().await?;
    plane.signal(Part::DatastoreProxy, Signal::SIGSTOP);
    write_unavailable(&mut admin, &["datastore"]).await?;
    for part in [Part::Supervisor, Part::TokenService] {
        plane.is_degraded(part, &["datastore"]).await?;
    }
    plane.signal(Part::DatastoreProxy, Signal::SIGCONT);
    plane.all_ready().await?;
    writes_go_on(&admin).await;
    still_there(&mut admin, &token.id).await
}

pub async fn datastore_is_gone() -> Result<()> {
    let mut plane = Plane::ready().await?;
    let mut admin = plane.admin().await?;
    let token = plane.token().await?;
    let address = plane.address(Part::Edge).to_string();
    let known = Node::new("known")?;
    let response = known.join(&address, &token.token).await?;

    plane.kill(Part::DatastoreProxy).await?;
    write_unavailable(&mut admin, &["datastore"]).await?;
    let answer = Node::new("late")?.join(&address, &token.token).await;
    refused(answer, &["unavailable", "datastore"])?;
    for part in [Part::Supervisor, Part::TokenService] {
        plane.is_degraded(part, &["datastore", "refused"]).await?;
    }
    // What needs no write goes on: administrators are known by their certificate.
    admin.kube_access(KubeAccessRequest {}).await?;
    let csr = known.key.csr_pem()?;
    let request = IssueKubeCredentialRequest {
        csr,
        ttl_seconds: 0,
    };
    admin.issue_kube_credential(request).await?;
    drop(response);

    plane.start(Part::DatastoreProxy)?;
    plane.all_ready().await?;
    writes_go_on(&admin).await;
    still_there(&mut admin, &token.id).await?;
    Node::new("late")?.join(&address, &token.token).await?;
    // The registry is what it was.
    known.rejoin(&mut plane.join_client().await?).await?;
    Ok(())
}

pub async fn each_neighbour_is_gone() -> Result<()> {
    let mut plane = Plane::ready().await?;
    let mut admin = plane.admin().await?;
    let token = plane.token().await?;
    let address = plane.address(Part::Edge).to_string();

    plane.kill(Part::TokenService).await?;
    write_unavailable(&mut admin, &["token-service", "refused"]).await?;
    let answer = Node::new("a")?.join(&address, &token.token).await;
    refused(answer, &["unavailable", "token-service"])?;
    plane.start(Part::TokenService)?;
    plane.is_ready(Part::TokenService).await?;
    writes_go_on(&admin).await;

    plane.kill(Part::CertAuthority).await?;
    let waiting = Node::new("b")?;
    let answer = waiting.join(&address, &token.token).await;
    refused(answer, &["unavailable", "cert-authority"])?;
    // Everybody keeps the certificate that it has, and who starts now waits and says for whom.
    writes_go_on(&admin).await;
    plane.kill(Part::TokenService).await?;
    plane.start(Part::TokenService)?;
    let authority = plane.address(Part::CertAuthority).to_string();
    plane
        .waits_for(Part::TokenService, &["enrolling", &authority, "refused"])
        .await?;
    plane.start(Part::CertAuthority)?;
    plane.all_ready().await?;
    writes_go_on(&admin).await;
    waiting.join(&address, &token.token).await?;

    plane.kill(Part::Supervisor).await?;
    let answer = Node::new("c")?.join(&address, &token.token).await;
    refused(answer, &[&address])?;
    plane.start(Part::Supervisor)?;
    plane.all_ready().await?;
    still_there(&mut admin, &token.id).await?;
    Node::new("c")?.join(&address, &token.token).await.map(drop)
}
