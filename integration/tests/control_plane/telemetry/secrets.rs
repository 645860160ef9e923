//! No secret is in logs, traces or metrics, even where everything is logged.

use crate::node::Node;
use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use serde_json::json;
use sextant_identity::{Peer, ServiceName};
use sextant_proto::externaljwt::SignJwtRequest;
use sextant_proto::externaljwt::external_jwt_signer_client::ExternalJwtSignerClient;
use sextant_proto::kms::key_management_service_client::KeyManagementServiceClient;
use sextant_proto::kms::{DecryptRequest, EncryptRequest};
use sextant_testkit::{Collector, Process, eventually};
use std::time::{SystemTime, UNIX_EPOCH};

/// Values of ours that a leak would show.
const VALUE: &str = "a-value-that-nobody-may-read-8c1f";
const PASSWORD: &str = "a-password-of-a-database-77ab";

pub async fn no_secret_is_told() -> Result<()> {
    let collector = Collector::start().await;
    let mut plane = Plane::new()?;
    plane.environment = vec![
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            collector.endpoint(),
        ),
        ("SEXTANT_COMMON__LOG".to_owned(), "trace".to_owned()),
    ];
    plane.start_all()?;
    plane.all_ready().await?;
    let mut secrets = vec![VALUE.to_owned(), PASSWORD.to_owned()];
    // Bytes are often written so.
    secrets.push(format!("{:?}", VALUE.as_bytes()).replace(['[', ']'], ""));
    secrets.push(STANDARD.encode(VALUE));

    secrets.extend(join(&plane).await?);
    secrets.extend(sign(&plane).await?);
    encrypt(&plane).await?;
    store(&plane).await?;
    for name in std::fs::read_dir(plane.path("enrol"))? {
        if let Ok(token) = std::fs::read_to_string(name?.path().join("token")) {
            secrets.push(token.trim().to_owned());
        }
    }
    ensure!(secrets.len() > 8, "only {} secrets", secrets.len());

    let mut told = Vec::new();
    for part in Part::ALL {
        told.push((
            format!("{}'s metrics", part.name()),
            plane.metrics(part).await?,
        ));
    }
    told.push(("a database's log".to_owned(), password(&plane).await?));
    // What is buffered is sent before a process ends.
    plane.stop_all().await?;
    told.push(("the logs".to_owned(), plane.all_output()));
    let exported = collector.texts();
    for signal in ["ResourceSpans", "ResourceLogs", "ResourceMetrics"] {
        ensure!(
            exported.iter().any(|text| text.contains(signal)),
            "no {signal}"
        );
    }
    told.extend(
        exported
            .into_iter()
            .map(|text| ("the export".to_owned(), text)),
    );
    let logged = plane.all_output();
    ensure!(logged.contains(r#""level":"TRACE""#), "nothing is traced");
    let found: Vec<_> = told
        .iter()
        .flat_map(|(place, text)| {
            let place = move |what| format!("{what} is in {place}");
            leaks(text, &secrets).into_iter().map(place)
        })
        .collect();
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// Secrets, and whatever looks like one, each with the words around it.
fn leaks(text: &str, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let shapes = ["PRIVATE KEY", "eyJhbGciOi", "::"].map(str::to_owned);
    for wanted in secrets.iter().chain(&shapes) {
        for (at, _) in text.match_indices(wanted.as_str()) {
            // `::` is of a join token where an id and a secret of their lengths stand beside it.
            if wanted == "::" && !is_join_token(&text[at + 2..]) {
                continue;
            }
            let around = text[..at]
                .char_indices()
                .rev()
                .nth(80)
                .map_or(0, |(i, _)| i);
            let end = text[at..]
                .char_indices()
                .nth(120)
                .map_or(text.len(), |(i, _)| at + i);
            found.push(text[around..end].to_owned());
            break;
        }
    }
    found
}

/// `<id>:<secret>`, of ten and 32 characters.
fn is_join_token(rest: &str) -> bool {
    let Some((id, secret)) = rest.split_once(':') else {
        return false;
    };
    let secret = secret.chars().take_while(char::is_ascii_alphanumeric);
    id.len() == 10 && id.chars().all(|c| c.is_ascii_alphanumeric()) && secret.count() >= 32
}

/// A token that joins, one that is guessed, and one that is revoked.
async fn join(plane: &Plane) -> Result<Vec<String>> {
    let token = plane.token().await?.token;
    let address = plane.address(Part::Edge).to_string();
    Node::new("a-node")?.join(&address, &token).await?;
    let (head, secret) = token.rsplit_once(':').context("no secret in the token")?;
    let guess = "b".repeat(secret.len());
    let stranger = Node::new("b-node")?;
    let guessed = format!("{head}:{guess}");
    let guessed = stranger.join(&address, &guessed);
    ensure!(guessed.await.is_err(), "a guessed token joins");
    Ok(vec![secret.to_owned(), guess])
}

/// A ServiceAccount's token: whoever has claims and signature has it.
async fn sign(plane: &Plane) -> Result<Vec<String>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let claims = json!({
        "aud": [issuer], "exp": now + 3600, "iat": now, "nbf": now, "iss": issuer, "jti": "x",
        "sub": "system:serviceaccount:ns:name",
        "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "name", "uid": "u"}},
    });
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let mesh = plane.enrol("kube-apiserver").await?;
    let address = plane.address(Part::TokenService).to_string();
    let channel = mesh.channel(&address, Peer::Service(ServiceName::TokenService));
    let request = SignJwtRequest {
        claims: claims.clone(),
    };
    let signed = ExternalJwtSignerClient::new(channel).sign(request).await?;
    let refused = SignJwtRequest {
        claims: URL_SAFE_NO_PAD.encode(format!("{{\"iss\":\"{VALUE}\"")),
    };
    let channel = mesh.channel(&address, Peer::Service(ServiceName::TokenService));
    let answer = ExternalJwtSignerClient::new(channel).sign(refused).await;
    ensure!(answer.is_err(), "{answer:?}");
    Ok(vec![signed.into_inner().signature, claims])
}

/// What Kubernetes keeps secret.
async fn encrypt(plane: &Plane) -> Result<()> {
    let mesh = plane.enrol("kube-apiserver").await?;
    let address = plane.address(Part::CertAuthority).to_string();
    let channel = mesh.channel(&address, Peer::Service(ServiceName::CertAuthority));
    let mut kms = KeyManagementServiceClient::new(channel);
    let request = EncryptRequest {
        plaintext: VALUE.into(),
        uid: "one".to_owned(),
    };
    let sealed = kms.encrypt(request).await?.into_inner();
    let request = DecryptRequest {
        ciphertext: sealed.ciphertext,
        uid: "one".to_owned(),
        key_id: sealed.key_id,
        annotations: sealed.annotations,
    };
    let opened = kms.decrypt(request).await?.into_inner();
    ensure!(opened.plaintext == VALUE, "it isn't the same");
    Ok(())
}

/// As kube-apiserver writes and reads.
async fn store(plane: &Plane) -> Result<()> {
    let mut datastore = plane.datastore_client("kube-apiserver").await?;
    let key = "/registry/secrets/default/one";
    let create = Txn::new()
        .when([Compare::mod_revision(key, CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key, VALUE, None)]);
    datastore.txn(create).await?;
    let found = datastore.get(key, None).await?;
    ensure!(
        found
            .kvs()
            .first()
            .is_some_and(|kv| kv.value() == VALUE.as_bytes())
    );
    Ok(())
}

/// A datastore-proxy that can't reach its database server, and one whose operator wrote the password where it doesn't
/// belong.
async fn password(plane: &Plane) -> Result<String> {
    let file = plane.path("password");
    std::fs::write(&file, PASSWORD)?;
    let by_file = format!("database.password_file={}", file.display());
    let settings = [
        "common.admin_listen=127.0.0.1:0",
        "listen=127.0.0.1:0",
        "insecure_loopback=true",
        "endpoint=postgres://sextant@127.0.0.1:1/sextant",
        &by_file,
    ];
    let arguments: Vec<_> = settings.iter().flat_map(|set| ["--set", set]).collect();
    let waiting = Process::start(plane.command(Part::DatastoreProxy, &arguments)?)?;
    let output = eventually(SOON, "it misses its database", || async {
        let output = waiting.output();
        let told = output.contains("127.0.0.1:1") || output.contains("refused");
        if told { Ok(output) } else { Err(output) }
    })
    .await;
    let inline = format!("endpoint=postgres://sextant:{PASSWORD}@127.0.0.1:1/sextant");
    let mut refused = Process::start(plane.command(Part::DatastoreProxy, &["--set", &inline])?)?;
    let status = refused.wait(SOON).await;
    ensure!(!status.success(), "a password in the endpoint is taken");
    Ok(output + &refused.output())
}
