//! The external signer over the mesh.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sextant_identity::ServiceName;
use sextant_proto::externaljwt::{
    FetchKeysRequest, MetadataRequest, SignJwtRequest,
    external_jwt_signer_client::ExternalJwtSignerClient,
};
use support::{Cluster, MemoryKv, code};
use tonic::Code;

const YEAR: i64 = 365 * 24 * 3600;

fn claims(life: i64) -> Value {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    json!({
        "aud": ["https://kubernetes.default.svc.cluster.local"],
        "exp": now + life, "iat": now, "nbf": now,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
        "kubernetes.io": {
            "namespace": "kube-system",
            "serviceaccount": {"name": "coredns", "uid": "dff4d2f7-0fb5-4a2c-9b5b-1a7e3d0e0f7e"},
        },
        "sub": "system:serviceaccount:kube-system:coredns",
    })
}

fn request(claims: &Value) -> SignJwtRequest {
    SignJwtRequest {
        claims: URL_SAFE_NO_PAD.encode(claims.to_string()),
    }
}

#[tokio::test]
async fn signs_what_its_published_key_verifies_even_without_the_datastore() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let mut signer = replica.signer();
    let metadata = signer
        .metadata(MetadataRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.max_token_expiration_seconds, YEAR);
    kv.set_away(true);

    let keys = signer
        .fetch_keys(FetchKeysRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(keys.keys.len(), 1);
    assert!(keys.refresh_hint_seconds > 0 && keys.data_timestamp.unwrap().seconds > 0);
    let request = request(&claims(YEAR));
    let signed = signer.sign(request.clone()).await.unwrap().into_inner();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&signed.header).unwrap()).unwrap();
    assert_eq!(
        header,
        json!({"alg": "ES256", "kid": keys.keys[0].key_id, "typ": "JWT"})
    );
    // RFC 5480: the last 65 bytes of a P-256 SubjectPublicKeyInfo are the point.
    let public = &keys.keys[0].key;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public[public.len() - 65..]);
    let message = format!("{}.{}", signed.header, request.claims);
    let signature = URL_SAFE_NO_PAD.decode(&signed.signature).unwrap();
    public.verify(message.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn all_replicas_and_later_starts_have_one_key() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let (one, two) = tokio::join!(cluster.replica(&kv), cluster.replica(&kv));
    let mut keys = Vec::new();
    for replica in [&one, &two, &cluster.replica(&kv).await] {
        keys.push(
            replica
                .signer()
                .fetch_keys(FetchKeysRequest {})
                .await
                .unwrap()
                .into_inner(),
        );
    }
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "{keys:?}");
}

#[tokio::test]
async fn refuses_claims_that_are_not_its_own() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    let mut other = claims(600);
    other["iss"] = json!("https://elsewhere");
    for claims in [claims(2 * YEAR), other, json!({}), json!("text")] {
        let status = replica.signer().sign(request(&claims)).await.unwrap_err();
        assert_eq!(
            (status.code(), code(&status)),
            (Code::InvalidArgument, "claims_refused".into())
        );
    }
}

#[tokio::test]
async fn signs_for_kube_apiserver_alone() {
    let (cluster, kv) = (Cluster::new(), MemoryKv::default());
    let replica = cluster.replica(&kv).await;
    replica.ready().await;
    for caller in ServiceName::ALL
        .iter()
        .filter(|name| **name != ServiceName::KubeApiserver)
    {
        let mut client = ExternalJwtSignerClient::new(replica.channel(*caller));
        let status = client.sign(request(&claims(600))).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{caller}: {status:?}"
        );
        let status = client.fetch_keys(FetchKeysRequest {}).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::PermissionDenied,
            "{caller}: {status:?}"
        );
    }
}
