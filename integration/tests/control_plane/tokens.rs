//! Join tokens that don't hold, and names that are taken.

use crate::node::Node;
use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Result, ensure};
use sextant_proto::join::JoinResponse;
use sextant_proto::supervisor::{CreateTokenRequest, RevokeTokenRequest};
use sextant_testkit::eventually;
use std::time::{SystemTime, UNIX_EPOCH};

pub async fn bad_tokens_are_refused_and_a_good_one_joins() -> Result<()> {
    let plane = Plane::ready().await?;
    let mut admin = plane.admin().await?;
    let mut make = async |request: CreateTokenRequest| {
        anyhow::Ok(admin.create_token(request).await?.into_inner())
    };
    let good = make(CreateTokenRequest::default()).await?;
    let short = make(CreateTokenRequest {
        ttl_seconds: 1,
        ..Default::default()
    })
    .await?;
    let revoked = make(CreateTokenRequest::default()).await?;
    let once = make(CreateTokenRequest {
        max_uses: 1,
        ..Default::default()
    })
    .await?;
    let named = make(CreateTokenRequest {
        node_name: "elsewhere".to_owned(),
        ..Default::default()
    })
    .await?;
    let near = make(CreateTokenRequest {
        cidrs: vec!["10.9.0.0/16".to_owned()],
        ..Default::default()
    })
    .await?;
    admin
        .revoke_token(RevokeTokenRequest {
            id: revoked.id.clone(),
        })
        .await?;
    let address = plane.address(Part::Edge).to_string();
    Node::new("first")?.join(&address, &once.token).await?;
    until(short.expires_unix).await;

    let (hash, rest) = good.token.split_once("::").unwrap_or_default();
    let unknown = format!("{hash}::aaaaaaaaaa:{}", "b".repeat(32));
    let guessed = format!("{hash}::{}:{}", good.id, "b".repeat(32));
    let elsewhere = format!("K10{}::{rest}", "0".repeat(64));
    let cases = [
        (&unknown, "token_unknown", "create"),
        (&guessed, "token_unknown", "create"),
        (&short.token, "token_expired", "create"),
        (&revoked.token, "token_revoked", "create"),
        (&once.token, "token_used_up", "create"),
        (&named.token, "token_scope", "`elsewhere`, not for `second`"),
        (&near.token, "token_scope", "127.0.0.1"),
        (&elsewhere, "ca_mismatch", "create"),
        (&rest.to_owned(), "token_malformed", "K10"),
        (&"nonsense".to_owned(), "token_malformed", "K10"),
    ];
    let node = Node::new("second")?;
    for (token, code, advice) in &cases {
        // The supervisor's own view: a client that pins nothing.
        let answer = node.join_over(&mut plane.join_client().await?, token).await;
        refused(answer, &[code, advice, "/v1/join"])?;
    }
    // The node's own view: it doesn't send the token to a cluster with another authority.
    refused(
        node.join(&address, &elsewhere).await,
        &["CA bundle", "another cluster"],
    )?;
    refused(node.join(&address, rest).await, &["no CA hash"])?;

    node.join(&address, &good.token).await?;
    let made = [&good, &short, &revoked, &once, &named, &near];
    let secret = |token: &str| token.rsplit(':').next().unwrap_or_default().to_owned();
    let secrets: Vec<String> = made.iter().map(|made| secret(&made.token)).collect();
    plane.no_secret_was_told(&secrets)
}

pub async fn one_name_belongs_to_one_key() -> Result<()> {
    let plane = Plane::ready().await?;
    let address = plane.address(Part::Edge).to_string();
    let any = plane.token().await?;
    let (first, second) = (Node::new("twin")?, Node::new("twin")?);
    first.join(&address, &any.token).await?;
    let advice = ["name_taken", "another key", "sextant node remove", "--node"];
    refused(second.join(&address, &any.token).await, &advice)?;
    // The answer was lost on the way: the same machine asks again, and comes back without a token.
    first.join(&address, &any.token).await?;
    first.rejoin(&mut plane.join_client().await?).await?;
    let stolen = second.rejoin(&mut plane.join_client().await?).await;
    refused(stolen, &["not_registered", "another key", "--node twin"])?;

    // A new disk: an administrator says so with a token for this name.
    let scoped = CreateTokenRequest {
        node_name: "twin".to_owned(),
        ..Default::default()
    };
    let scoped = plane
        .admin()
        .await?
        .create_token(scoped)
        .await?
        .into_inner();
    second.join(&address, &scoped.token).await?;
    second.rejoin(&mut plane.join_client().await?).await?;
    let gone = first.rejoin(&mut plane.join_client().await?).await;
    refused(gone, &["not_registered", "another key"])?;
    refused(
        first.join(&address, &any.token).await,
        &["name_taken", "another key"],
    )
}

/// Refused, with all of these words.
pub fn refused(answer: Result<JoinResponse>, words: &[&str]) -> Result<()> {
    let Err(error) = answer else {
        anyhow::bail!("let in, where a refusal with {words:?} was due");
    };
    let text = format!("{error:#}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing in: {text}");
    }
    Ok(())
}

/// Waits for a time of day.
async fn until(unix: i64) {
    eventually(SOON, "the token's end", || async move {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs().cast_signed());
        if now >= unix { Ok(()) } else { Err(now) }
    })
    .await;
}
