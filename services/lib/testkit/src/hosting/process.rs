//! The two programs, with keys for this run alone.

use crate::{Process, etcd_flags, eventually, free_port, kube_apiserver_flags};
use http::Method;
use nix::sys::signal::Signal;
use sextant_hosting::Client;
use std::path::Path;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Etcd {
    url: String,
    _process: Process,
}

#[derive(Debug)]
pub(super) struct KubeApiserver {
    address: String,
    process: Process,
}

impl Etcd {
    pub(super) fn start(program: &Path, folder: &Path) -> Self {
        let url = format!("http://127.0.0.1:{}", free_port());
        let process = Process::spawn(program, &etcd_flags(&url, folder), &[]).expect("etcd");
        Self {
            url,
            _process: process,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl KubeApiserver {
    pub(super) fn start(program: &Path, etcd: &str, folder: &Path) -> Self {
        let port = free_port();
        write_files(folder);
        let mut flags = kube_apiserver_flags(etcd, port, folder);
        let tokens = folder.join("tokens.csv");
        flags.push(format!("--token-auth-file={}", tokens.display()));
        let process = Process::spawn(program, &flags, &[]).expect("kube-apiserver");
        Self {
            address: format!("127.0.0.1:{port}"),
            process,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(super) async fn ready(&self, admin: &Client) {
        let asked = || async {
            // What tests need is there last: roles that the server makes for itself.
            let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user";
            let answer: Result<serde_json::Value, _> = admin.send(Method::GET, path, &()).await;
            answer.map_err(|error| {
                let said = self.process.output();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                format!("{error}: {last:#?}")
            })
        };
        eventually(Duration::from_secs(120), "kube-apiserver is ready", asked).await;
    }
}

fn write_files(folder: &Path) {
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let anchor = params.self_signed(&authority).expect("an authority");
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let accounts = rcgen::KeyPair::generate().expect("a key");
    let token = format!("{:032x}", rand::random::<u128>());
    std::fs::create_dir(folder.join("admin")).expect("a folder");
    let files = [
        ("tls.crt", certificate.pem()),
        ("tls.key", key.serialize_pem()),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        (
            "tokens.csv",
            format!("{token},admin,admin,system:masters\n"),
        ),
        ("admin/token", token),
        ("admin/ca.crt", anchor.pem()),
        ("admin/namespace", "default".to_owned()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}
