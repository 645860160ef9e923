//! A database that lets nobody in but over TLS and with a password.

use crate::support::database::{Kind, Server};
use crate::support::{self, Served};
use datastore_proxy::config::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::Path;

/// What is given to a server and to its clients.
struct Secrets {
    folder: tempfile::TempDir,
    certificate: String,
    key: String,
    password: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let name = format!("authority {:08x}", rand::random::<u32>());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server certificate for `name`, and the files that a replica is told of.
fn secrets(name: &str) -> Secrets {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    let folder = tempfile::tempdir().unwrap();
    let password = format!("{:032x}", rand::random::<u128>());
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("password"), &password).unwrap();
    Secrets {
        folder,
        certificate,
        key: key.serialize_pem(),
        password,
    }
}

impl Secrets {
    async fn server(&self, kind: Kind) -> Option<Server> {
        Server::start_secure(kind, &self.certificate, &self.key, &self.password).await
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self, server: &Server) -> Config {
        let mut config = support::replica(&server.endpoint("plane"));
        config.database.ca_file = Some(self.path().join("ca.pem"));
        config.database.password_file = Some(self.path().join("password"));
        config
    }
}

/// Starts a replica that can't get in, and waits until it says why.
async fn refused(config: Config, reason: &str) {
    let starting = Served::told(config, reason).await;
    starting.trigger.start();
    starting.task.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_reach_the_database_over_tls_with_a_password() {
    for kind in Kind::ALL {
        let secrets = secrets("127.0.0.1");
        let Some(server) = secrets.server(kind).await else {
            continue;
        };
        let first = Served::start_with(secrets.config(&server)).await;
        let second = Served::start_with(secrets.config(&server)).await;
        assert_eq!(first.clients().await.put("k", "v").await, 2);
        assert_eq!(second.clients().await.get("k").await.as_deref(), Some("v"));
        assert_eq!(second.clients().await.put("k", "w").await, 3);
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_prove_its_name_gets_no_password() {
    for kind in Kind::ALL {
        let secrets = secrets("db.example");
        let Some(server) = secrets.server(kind).await else {
            continue;
        };
        refused(secrets.config(&server), "not valid for name").await;
        std::fs::write(secrets.path().join("ca.pem"), authority().pem()).unwrap();
        refused(secrets.config(&server), "UnknownIssuer").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_not_shown() {
    let told = |kind| match kind {
        Kind::MariaDb => "Access denied for user",
        Kind::Postgres => "password authentication failed",
    };
    for kind in Kind::ALL {
        let secrets = secrets("127.0.0.1");
        let Some(server) = secrets.server(kind).await else {
            continue;
        };
        std::fs::write(secrets.path().join("password"), "wrong-all-along").unwrap();
        refused(secrets.config(&server), told(kind)).await;
    }
}
