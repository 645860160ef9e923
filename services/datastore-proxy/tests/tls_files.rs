//! TLS from files: who is let in, what they may do, and new files without a restart.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use datastore_proxy::config::{Config, EtcdClient, TlsFiles};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::eventually;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Clients, Served, get, put};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
struct Issued {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn issue(&self, name: &str, sans: Vec<SanType>) -> Issued {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = sans;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    fn server(&self) -> Issued {
        self.issue(
            "server",
            vec![SanType::DnsName("localhost".try_into().unwrap())],
        )
    }

    /// Files of a server of this authority, which trusts its clients.
    fn write(&self, files: &TlsFiles) {
        let server = self.server();
        std::fs::write(&files.cert, server.cert).unwrap();
        std::fs::write(&files.key, server.key).unwrap();
        std::fs::write(&files.client_ca, self.0.pem()).unwrap();
    }

    async fn connect(
        &self,
        address: SocketAddr,
        client: Option<&Issued>,
    ) -> Result<Clients, tonic::transport::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_slice_iter(issued.cert.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let dial = service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").unwrap();
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        });
        let channel: Channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(dial)
            .await?;
        Ok(Clients::over(channel))
    }
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        cert: folder.join("server.crt"),
        key: folder.join("server.key"),
        client_ca: folder.join("clients.crt"),
        clients: vec![EtcdClient {
            common_name: "app".to_owned(),
            prefixes: vec!["app/".to_owned()],
            ..EtcdClient::default()
        }],
    }
}

async fn start(path: &Path, tls: TlsFiles) -> Served {
    Served::start_with(Config {
        insecure_loopback: false,
        tls,
        ..support::config(path)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_decides_what_its_bearer_may_do() {
    let (folder, path) = support::store();
    let authority = Authority::new();
    let tls = files(folder.path());
    authority.write(&tls);
    let served = start(&path, tls).await;

    let app = authority.issue("app", Vec::new());
    let mut clients = authority.connect(served.address, Some(&app)).await.unwrap();
    clients.put("app/a", "1").await;
    let refused = clients.kv.put(put("other", "1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let hash = clients
        .maintenance
        .hash(pb::HashRequest {})
        .await
        .unwrap_err();
    assert_eq!(hash.code(), Code::PermissionDenied);

    let id = SanType::URI(
        "spiffe://td.example/service/kube-apiserver"
            .try_into()
            .unwrap(),
    );
    let kube = authority.issue("whatever", vec![id]);
    let mut clients = authority
        .connect(served.address, Some(&kube))
        .await
        .unwrap();
    clients.put("/registry/a", "1").await;
    let refused = clients.kv.range(get("app/a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    for name in ["unknown", "admin", "local", ""] {
        let unknown = authority.issue(name, Vec::new());
        let mut clients = authority
            .connect(served.address, Some(&unknown))
            .await
            .unwrap();
        let refused = clients
            .maintenance
            .status(pb::StatusRequest {})
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{name}");
        let refused = clients.kv.range(get("app/a")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{name}");
    }

    let stranger = Authority::new().issue("app", Vec::new());
    for client in [None, Some(&stranger)] {
        // In TLS 1.3 a client hears only after its own handshake that it isn't let in.
        if let Ok(mut clients) = authority.connect(served.address, client).await {
            clients.kv.range(get("app/a")).await.unwrap_err();
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_used_without_a_restart() {
    let (folder, path) = support::store();
    let (old, new) = (Authority::new(), Authority::new());
    let tls = files(folder.path());
    old.write(&tls);
    let served = start(&path, tls.clone()).await;
    let client = old.issue("app", Vec::new());
    let mut before = old.connect(served.address, Some(&client)).await.unwrap();
    before.put("app/a", "1").await;

    new.write(&tls);
    let client = new.issue("app", Vec::new());
    eventually(
        Duration::from_secs(30),
        "the new files are used",
        || async {
            match new.connect(served.address, Some(&client)).await {
                Ok(mut clients) => clients
                    .kv
                    .range(get("app/a"))
                    .await
                    .map(drop)
                    .map_err(|e| e.to_string()),
                Err(error) => Err(format!("{error:?}")),
            }
        },
    )
    .await;
    // Open connections go on.
    assert_eq!(before.get("app/a").await.as_deref(), Some("1"));
    served.stop().await;
}

#[tokio::test]
async fn files_that_are_no_tls_are_named() {
    let (folder, path) = support::store();
    let tls = files(folder.path());
    Authority::new().write(&tls);
    std::fs::write(&tls.client_ca, "nothing").unwrap();
    let config = Config {
        insecure_loopback: false,
        tls,
        ..support::config(&path)
    };
    let (ctx, _trigger) = sextant_kit::Context::new();
    let bound = datastore_proxy::app::Bound::bind(config, ctx)
        .await
        .unwrap();
    let error = bound.run().await.unwrap_err().to_string();
    assert!(
        error.contains("clients.crt") && error.contains("no certificate"),
        "{error}"
    );
}

#[tokio::test]
async fn replicas_on_postgresql_refuse_files_that_they_would_not_use() {
    let (folder, path) = support::store();
    let tls = files(folder.path());
    Authority::new().write(&tls);
    let config = Config {
        endpoint: "postgres://user@127.0.0.1/database".to_owned(),
        insecure_loopback: false,
        tls,
        ..support::config(&path)
    };
    let (ctx, _trigger) = sextant_kit::Context::new();
    let bound = datastore_proxy::app::Bound::bind(config, ctx).await;
    let error = bound.err().expect("it is refused").to_string();
    assert!(error.contains("take tls out"), "{error}");
}
