//! Joining, coming back, and being turned away.

use crate::nodes::{self, Session, join, requests};
use crate::rig::{DEADLINE, Rig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sextant_identity::KeyPair;
use sextant_proto::certauthority::Profile;
use sextant_proto::join::{
    AdminEnrollRequest, AdminEnrollResponse, JoinResponse, RejoinNonce, RejoinRequest,
    rejoin_message,
};
use sextant_testkit::eventually;

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, sextant_identity::Error>, code: &str) {
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains(code), "{code} is not in: {error}");
}

#[tokio::test]
async fn a_token_gives_four_certificates_trust_and_settings() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let answer = join(&rig, &replica, "node-9", &rig.token("", 1), &key())
        .await
        .unwrap();
    assert!(
        answer
            .certificates
            .mesh
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(!answer.certificates.kube_proxy.is_empty());
    assert_eq!(answer.trust.mesh_pem, rig.root.bundle().mesh_pem());
    assert_eq!(answer.settings.cluster_dns, "10.96.0.10");
    let mut profiles: Vec<_> = rig
        .authorities
        .signed
        .lock()
        .unwrap()
        .iter()
        .map(|r| r.profile())
        .collect();
    profiles.sort_unstable();
    profiles.retain(|profile| {
        *profile != Profile::SupervisorClient && *profile != Profile::SupervisorBootstrap
    });
    assert_eq!(
        profiles,
        [
            Profile::Mesh,
            Profile::KubeletClient,
            Profile::KubeletServing,
            Profile::KubeProxyClient
        ]
    );
    assert!(
        rig.store
            .value("/sextant/supervisor/nodes/node-9")
            .is_some()
    );
}

#[tokio::test]
async fn bad_tokens_names_and_requests_are_refused_with_stable_codes() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let token = rig.token("", 0);
    refused(
        join(&rig, &replica, "n", "nonsense", &key()).await,
        "token_malformed",
    );
    let unknown = token.replace("::t", "::u");
    refused(
        join(&rig, &replica, "n", &unknown, &key()).await,
        "token_unknown",
    );
    let elsewhere = format!("K10{}::t000000000:secret", "0".repeat(64));
    refused(
        join(&rig, &replica, "n", &elsewhere, &key()).await,
        "ca_mismatch",
    );
    refused(
        join(&rig, &replica, "kubernetes", &token, &key()).await,
        "name_refused",
    );
    refused(
        join(&rig, &replica, "n", &rig.token("m", 1), &key()).await,
        "token_scope",
    );
    let once = rig.token("", 1);
    join(&rig, &replica, "first", &once, &key()).await.unwrap();
    refused(
        join(&rig, &replica, "second", &once, &key()).await,
        "token_used_up",
    );
    let mut api = rig.join_api(&replica).await;
    let bad = serde_json::json!({"node_name": "n", "requests": {"mesh": "no", "addresses": ["172.18.0.9"]}});
    let outcome = api
        .post::<_, JoinResponse>("/v1/join", Some(&token), &bad)
        .await;
    refused(outcome, "csr_invalid");
    let outcome = api
        .post::<_, JoinResponse>("/v1/join", Some(&token), &"no object")
        .await;
    refused(outcome, "malformed");
}

#[tokio::test]
async fn a_second_machine_under_one_name_is_refused_the_same_one_is_not() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let (first, second) = (key(), key());
    let token = rig.token("", 1);
    join(&rig, &replica, "n", &token, &first).await.unwrap();
    // The answer was lost: the same machine asks again, and it counts once.
    join(&rig, &replica, "n", &token, &first).await.unwrap();
    refused(
        join(&rig, &replica, "n", &rig.token("", 0), &second).await,
        "name_taken",
    );
    let session = Session::open(&rig, &replica, "n").await.unwrap();
    refused(
        join(&rig, &replica, "n", &rig.token("n", 1), &second).await,
        "name_taken",
    );
    drop(session);
    let scoped = rig.token("n", 1);
    eventually(DEADLINE, "a new disk under the old name", || {
        join(&rig, &replica, "n", &scoped, &second)
    })
    .await;
}

#[tokio::test]
async fn a_node_comes_back_with_its_key_alone() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let own = key();
    join(&rig, &replica, "n", &rig.token("n", 1), &own)
        .await
        .unwrap();
    let mut api = rig.join_api(&replica).await;
    let nonce: RejoinNonce = api.get("/v1/rejoin/nonce").await.unwrap();
    let exporter = *api.exporter();
    let request = |name: &str, nonce: &str, exporter: &[u8; 32], with: &KeyPair| {
        let message = rejoin_message(&STANDARD.decode(nonce).unwrap(), exporter, name);
        RejoinRequest {
            node_name: name.into(),
            public_key: STANDARD.encode(with.public_key_spki_der()),
            nonce: nonce.into(),
            signature: STANDARD.encode(with.sign(&message).unwrap()),
            requests: requests(&own),
        }
    };
    let good = request("n", &nonce.nonce, &exporter, &own);
    let answer: JoinResponse = api.post("/v1/rejoin", None, &good).await.unwrap();
    assert!(!answer.certificates.mesh.is_empty());
    refused(
        api.post::<_, JoinResponse>("/v1/rejoin", None, &good).await,
        "nonce_unknown",
    );

    let attempt = async |name: &str, exporter: Option<[u8; 32]>, with: &KeyPair| {
        let mut api = rig.join_api(&replica).await;
        let nonce: RejoinNonce = api.get("/v1/rejoin/nonce").await.unwrap();
        let exporter = exporter.unwrap_or(*api.exporter());
        let request = request(name, &nonce.nonce, &exporter, with);
        api.post::<_, JoinResponse>("/v1/rejoin", None, &request)
            .await
    };
    // Signed for another connection: somebody is in between.
    refused(attempt("n", Some([7; 32]), &own).await, "signature_invalid");
    refused(attempt("n", None, &key()).await, "not_registered");
    refused(attempt("m", None, &own).await, "not_registered");
}

#[tokio::test]
async fn only_administrators_enrol_through_this_door() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    let mut api = rig.join_api(&replica).await;
    let request = |token: &str| AdminEnrollRequest {
        token: token.into(),
        csr: key().csr_pem().unwrap(),
    };
    let answer: AdminEnrollResponse = api
        .post("/v1/enroll", None, &request("admin-token"))
        .await
        .unwrap();
    assert!(
        answer
            .certificate
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    for token in ["service-token", "nonsense"] {
        let outcome = api
            .post::<_, AdminEnrollResponse>("/v1/enroll", None, &request(token))
            .await;
        refused(outcome, "enrolment_refused");
    }
}

#[tokio::test]
async fn nodes_of_the_deployment_find_a_token_until_they_have_joined() {
    let rig = Rig::new().await;
    let path = rig.folder.path().join("node-1/token");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let replica = rig.supervisor().await;
    let read = || std::fs::read_to_string(&path).map_err(|e| e.to_string());
    let token = eventually(DEADLINE, "a token file", || async {
        read().and_then(|text| {
            if text.is_empty() {
                Err("empty".into())
            } else {
                Ok(text)
            }
        })
    })
    .await;
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    join(&rig, &replica, "node-1", token.trim(), &key())
        .await
        .unwrap();
    let _session = nodes::Session::open(&rig, &replica, "node-1")
        .await
        .unwrap();
    eventually(DEADLINE, "the file is emptied", || async {
        match read() {
            Ok(text) if text.is_empty() => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn without_the_datastore_joins_say_so_and_work_again_later() {
    let rig = Rig::new().await;
    let replica = rig.supervisor().await;
    rig.store.set_away(true);
    let token = rig.token("n", 1);
    let own = key();
    let error = join(&rig, &replica, "n", &token, &own)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("datastore") && error.contains("unavailable"),
        "{error}"
    );
    let readiness = &replica.ctx.readiness;
    eventually(DEADLINE, "readiness says so", || async {
        let degraded = readiness.degraded();
        let named = |name: &str| degraded.iter().any(|w| w.name == name);
        if named("datastore") && named("lease") {
            Ok(())
        } else {
            Err(degraded)
        }
    })
    .await;
    // What it holds is served on, so no balancer should leave it.
    assert_eq!(readiness.waiting(), []);
    rig.store.set_away(false);
    eventually(DEADLINE, "joining works again", || {
        join(&rig, &replica, "n", &token, &own)
    })
    .await;
}
