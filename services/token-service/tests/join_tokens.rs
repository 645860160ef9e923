//! Join tokens over the mesh.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::time::Duration;

use sextant_identity::ServiceName;
use sextant_proto::tokenservice::{
    CreateRequest, ListRequest, RevokeRequest, Scope, VerifyRequest,
    join_tokens_client::JoinTokensClient,
};
use sextant_testkit::eventually;
use support::{Cluster, MemoryKv, code};
use token_service::config::Config;
use tonic::Code;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn uses(max_uses: u32) -> Scope {
    Scope {
        max_uses,
        ..Scope::default()
    }
}

#[tokio::test]
async fn a_token_counts_each_join_once() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let (id, token) = replica.create(uses(2)).await;
    assert!(
        token.starts_with("K10") && token.contains(&format!("::{id}:")),
        "{token}"
    );
    assert_eq!(replica.verify(&token, "one").await, Ok(1));
    assert_eq!(replica.verify(&token, "one").await, Ok(1));
    assert_eq!(replica.verify(&format!("{token}\n"), "two").await, Ok(2));
    assert_eq!(
        replica.verify(&token, "three").await,
        Err("token_used_up".to_owned())
    );
    assert_eq!(replica.verify(&token, "two").await, Ok(2));
    let listed = replica
        .tokens()
        .list(ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .tokens;
    assert_eq!(
        (listed.len(), listed[0].id.as_str(), listed[0].uses),
        (1, id.as_str(), 2)
    );
}

#[tokio::test]
async fn refusals_have_codes() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let refused = |code: &str| Err::<u32, _>(code.to_owned());

    let (_, token) = replica.create(uses(0)).await;
    let (head, secret) = token.rsplit_once(':').unwrap();
    let (pin, _) = token.split_once("::").unwrap();
    let wrong = format!("{head}:{}", "a".repeat(secret.len()));
    assert_eq!(replica.verify(&wrong, "j").await, refused("token_unknown"));
    let unknown = format!("{pin}::0000000000:{secret}");
    assert_eq!(
        replica.verify(&unknown, "j").await,
        refused("token_unknown")
    );
    let elsewhere = token.replacen(pin, &format!("K10{}", "0".repeat(64)), 1);
    assert_eq!(
        replica.verify(&elsewhere, "j").await,
        refused("ca_mismatch")
    );
    assert_eq!(
        replica.verify("K10nonsense", "j").await,
        refused("token_malformed")
    );
    let (_, short) = token.split_once("::").unwrap();
    assert_eq!(replica.verify(short, "j").await, refused("token_malformed"));

    let named = Scope {
        node_name: "node-2".to_owned(),
        ..Scope::default()
    };
    let (_, named) = replica.create(named).await;
    assert_eq!(replica.verify(&named, "j").await, refused("token_scope"));
    assert_eq!(replica.verify_as(&named, "j", "node-2", "").await, Ok(1));
    let near = Scope {
        cidrs: vec!["192.168.0.0/16".to_owned()],
        ..Scope::default()
    };
    let (_, near) = replica.create(near).await;
    assert_eq!(replica.verify(&near, "j").await, refused("token_scope"));
    assert_eq!(
        replica.verify_as(&near, "j", "n", "").await,
        refused("token_scope")
    );
    assert_eq!(
        replica.verify_as(&near, "j", "n", "192.168.7.7").await,
        Ok(1)
    );

    let (id, revoked) = replica.create(uses(0)).await;
    assert_eq!(replica.verify(&revoked, "j").await, Ok(1));
    let revoke = RevokeRequest { id };
    replica.tokens().revoke(revoke.clone()).await.unwrap();
    replica.tokens().revoke(revoke).await.unwrap();
    assert_eq!(
        replica.verify(&revoked, "j").await,
        refused("token_revoked")
    );

    cluster.clock.advance(Duration::from_secs(3600));
    assert_eq!(replica.verify(&token, "j").await, refused("token_expired"));
}

#[tokio::test]
async fn the_short_form_needs_to_be_asked_for() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let config = Config {
        allow_tokens_without_ca_hash: true,
        ..Config::default()
    };
    let replica = cluster.replica_with(&kv, config).await;
    let (_, token) = replica.create(uses(0)).await;
    let (_, short) = token.split_once("::").unwrap();
    assert_eq!(replica.verify(short, "j").await, Ok(1));
}

#[tokio::test]
async fn nonsense_makes_no_token() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let good = CreateRequest::default;
    let scope = |scope| CreateRequest {
        scope: Some(scope),
        ..good()
    };
    for request in [
        CreateRequest {
            ttl_seconds: -1,
            ..good()
        },
        CreateRequest {
            ttl_seconds: 30 * 24 * 3600 + 1,
            ..good()
        },
        CreateRequest {
            description: "x".repeat(257),
            ..good()
        },
        scope(Scope {
            node_name: "Not A Name".to_owned(),
            ..Scope::default()
        }),
        scope(Scope {
            cidrs: vec!["10.0.0.1/33".to_owned()],
            ..Scope::default()
        }),
        scope(Scope {
            cidrs: vec!["10.0.0.0/8".to_owned(); 65],
            ..Scope::default()
        }),
        scope(uses(1001)),
    ] {
        let status = replica.tokens().create(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
        assert_eq!(code(&status), "invalid_argument");
    }
    let revoke = |id: &str| RevokeRequest { id: id.to_owned() };
    let status = replica
        .tokens()
        .revoke(revoke("0000000000"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = replica
        .tokens()
        .revoke(revoke("../keys/x"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn guessing_is_limited_and_costs_others_nothing() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let (_, token) = replica.create(uses(0)).await;
    let (pin, _) = token.split_once("::").unwrap();
    let mut limited = 0;
    for guess in 0..130 {
        // Another id each time: only the source is the same.
        let token = format!("{pin}::{guess:010}:{}", "a".repeat(32));
        limited += u32::from(replica.verify(&token, "j").await == Err("too_many_attempts".into()));
    }
    assert!((1..=30).contains(&limited), "{limited}");
    // The right token from there has to wait as well; from elsewhere it doesn't.
    assert_eq!(replica.verify_as(&token, "j", "n", "10.0.0.2").await, Ok(1));
}

#[tokio::test]
async fn replicas_make_one_key_and_never_count_too_much() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let (one, two) = tokio::join!(cluster.replica(&kv), cluster.replica(&kv));
    let (_, token) = one.create(uses(5)).await;
    let joins: Vec<_> = (0..20).map(|join| format!("join {join}")).collect();
    let attempts = joins.iter().enumerate().map(|(index, join)| {
        let replica = if index % 2 == 0 { &one } else { &two };
        replica.verify(&token, join)
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.is_ok()).count(),
        5,
        "{answers:?}"
    );
    let refused = |answer: &&Result<u32, String>| *answer == &Err("token_used_up".to_owned());
    assert_eq!(answers.iter().filter(refused).count(), 15, "{answers:?}");
}

#[tokio::test]
async fn the_store_holds_nothing_that_joins() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let (id, token) = replica.create(uses(0)).await;
    let (_, secret) = token.rsplit_once(':').unwrap();
    let all = kv.all();
    assert_eq!(all.len(), 3);
    for one in &all {
        assert!(
            one.key.starts_with("/sextant/token-service/"),
            "{}",
            one.key
        );
        let value = String::from_utf8_lossy(&one.value);
        assert!(
            !value.contains(secret) && !value.contains("pkcs8"),
            "{}",
            one.key
        );
    }
    assert!(all.iter().any(|one| one.key.ends_with(&id)));
}

#[tokio::test]
async fn expired_tokens_are_forgotten_after_a_day() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let first = cluster.replica(&kv).await;
    let (_, _) = first.create(uses(0)).await;
    cluster.clock.advance(DAY);
    // Still within the day after its hour: a start cleans, and leaves it.
    let second = cluster.replica(&kv).await;
    let (kept, _) = second.create(uses(0)).await;
    assert_eq!(kv.all().len(), 4);
    cluster.clock.advance(Duration::from_secs(3601));
    let third = cluster.replica(&kv).await;
    third.ready().await;
    eventually(Duration::from_secs(20), "only the newer token", || async {
        let tokens: Vec<_> = kv
            .all()
            .into_iter()
            .filter(|one| one.key.contains("/tokens/"))
            .collect();
        let done = tokens.len() == 1 && tokens[0].key.ends_with(&kept);
        if done { Ok(()) } else { Err(tokens.len()) }
    })
    .await;
}

#[tokio::test]
async fn without_the_datastore_it_says_so_and_comes_back() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    kv.set_away(true);
    let replica = cluster.replica(&kv).await;
    let waiting = eventually(Duration::from_secs(20), "a reason", || async {
        let waiting = replica.ctx.readiness.waiting();
        match waiting
            .iter()
            .find(|one| one.reason.contains("connection refused"))
        {
            Some(found) => Ok(found.reason.clone()),
            None => Err(waiting),
        }
    });
    assert!(waiting.await.starts_with("loading keys: datastore: "));
    kv.set_away(false);
    replica.ready().await;
    let (_, token) = replica.create(uses(0)).await;
    kv.set_away(true);
    assert_eq!(
        replica.verify(&token, "j").await,
        Err("datastore_unavailable".to_owned())
    );
    let readiness = &replica.ctx.readiness;
    let degraded = eventually(Duration::from_secs(20), "degraded", || async {
        let degraded = readiness.degraded();
        degraded.first().cloned().ok_or(readiness.waiting())
    })
    .await;
    assert_eq!(degraded.name, "datastore");
    assert!(
        degraded.reason.contains("join tokens have to wait"),
        "{degraded:?}"
    );
    // Balancers must not leave it: it still signs, as the signer's tests show.
    assert_eq!(readiness.waiting(), []);
    kv.set_away(false);
    eventually(Duration::from_secs(20), "whole again", || async {
        let degraded = readiness.degraded();
        if degraded.is_empty() {
            Ok(())
        } else {
            Err(degraded)
        }
    })
    .await;
    assert_eq!(replica.verify(&token, "j").await, Ok(1));
}

#[tokio::test]
async fn only_the_supervisor_may_ask() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    replica.ready().await;
    for caller in ServiceName::ALL
        .iter()
        .filter(|name| **name != ServiceName::Supervisor)
    {
        let mut client = JoinTokensClient::new(replica.channel(*caller));
        let status = client.verify(VerifyRequest::default()).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{caller}: {status:?}"
        );
        let status = client.create(CreateRequest::default()).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{caller}: {status:?}"
        );
    }
}
