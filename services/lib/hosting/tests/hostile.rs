//! The client against servers that aren't what they should be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use sextant_hosting::{ApiConfig, Client, ConfigMap, Error};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// What a pod finds mounted.
    fn pod(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("ca.crt", self.1.as_str()),
            ("token", "t0ken\n"),
            ("namespace", "plane"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn server(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key)
            .unwrap();
        Arc::new(config).into()
    }
}

/// Answers one request with `head`, then `body` until the client has enough; tells what was asked.
async fn serve(acceptor: TlsAcceptor, head: String, body: Vec<u8>) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return String::new();
        };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let answered = stream.write_all(head.as_bytes()).await;
        if answered.is_ok() {
            let _ = stream.write_all(&body).await;
        }
        let _ = stream.flush().await;
        String::from_utf8(request).unwrap()
    });
    (address, asked)
}

type Asked = tokio::task::JoinHandle<String>;

async fn get(address: &str, pod: &TempDir) -> Result<Option<ConfigMap>, Error> {
    let config = ApiConfig {
        server: address.to_owned(),
        folder: pod.path().to_owned(),
    };
    Client::new(&config).unwrap().get("ours").await
}

fn head(status: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n")
}

#[tokio::test]
async fn the_token_goes_to_the_right_server_only() {
    let authority = Authority::new();
    let pod = authority.pod();
    let body = br#"{"metadata":{"name":"ours"}}"#.to_vec();
    let good = head("200 OK", body.len());
    let (address, asked) = serve(authority.server("127.0.0.1"), good.clone(), body.clone()).await;
    assert!(get(&address, &pod).await.unwrap().is_some());
    let asked = asked.await.unwrap().to_lowercase();
    assert!(asked.contains("authorization: bearer t0ken\r\n"), "{asked}");
    assert!(
        asked.starts_with("get /api/v1/namespaces/plane/configmaps/ours "),
        "{asked}"
    );

    let strangers = [
        (authority.server("127.0.0.2"), "not valid for name"),
        (authority.server("kubernetes"), "not valid for name"),
        (Authority::new().server("127.0.0.1"), "BadSignature"),
    ];
    for (stranger, wanted) in strangers {
        let (address, asked) = serve(stranger, good.clone(), body.clone()).await;
        let error = get(&address, &pod).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert_eq!(asked.await.unwrap(), "", "nothing was asked");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_taken_in() {
    let authority = Authority::new();
    let long = vec![b' '; 3 << 20];
    let (address, _asked) = serve(
        authority.server("127.0.0.1"),
        head("200 OK", long.len()),
        long,
    )
    .await;
    let error = get(&address, &authority.pod()).await.unwrap_err();
    assert!(error.to_string().contains("length limit"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_no_object_is_not_repeated() {
    let authority = Authority::new();
    let body = br#"{"data":"hush hush"}"#.to_vec();
    let (address, _asked) = serve(
        authority.server("127.0.0.1"),
        head("200 OK", body.len()),
        body,
    )
    .await;
    let error = get(&address, &authority.pod())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("isn't understood") && !error.contains("hush"),
        "{error}"
    );
}

/// Time passes by itself when nothing else can.
#[tokio::test(start_paused = true)]
async fn silence_has_an_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = get(&address, &Authority::new().pod()).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let pod = Authority::new().pod();
    std::fs::write(pod.path().join("ca.crt"), "no certificate").unwrap();
    let error = get("127.0.0.1:1", &pod).await.unwrap_err().to_string();
    assert!(
        error.contains("ca.crt") && error.contains("no usable"),
        "{error}"
    );
    std::fs::remove_file(pod.path().join("token")).unwrap();
    let error = get("127.0.0.1:1", &pod).await.unwrap_err().to_string();
    assert!(
        error.contains("/token") && error.contains("mount"),
        "{error}"
    );
}
