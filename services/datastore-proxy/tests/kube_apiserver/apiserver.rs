//! kube-apiserver as a process, with certificates made for it.

use kube::config::AuthInfo;
use sextant_testkit::{Process, eventually, free_port, kube_apiserver_flags};
use std::path::Path;
use std::time::Duration;

pub struct ApiServer {
    folder: tempfile::TempDir,
    port: u16,
    certificate: rcgen::Certificate,
    process: Process,
}

impl ApiServer {
    pub fn start(binary: &Path, etcd: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let certificate = write_files(folder.path());
        let mut flags = kube_apiserver_flags(etcd, port, folder.path());
        let tokens = folder.path().join("tokens.csv");
        flags.extend([
            // Often, so that it meets everything else.
            "--etcd-compaction-interval=10s".to_owned(),
            format!("--token-auth-file={}", tokens.display()),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--enable-priority-and-fairness=false".to_owned(),
        ]);
        let panics = [("KUBE_WATCHCACHE_CONSISTENCY_CHECKER", "true")];
        let process = Process::spawn(binary, &flags, &panics).unwrap();
        Self {
            folder,
            port,
            certificate,
            process,
        }
    }

    pub fn client(&self) -> kube::Client {
        let url = format!("https://127.0.0.1:{}", self.port);
        let mut config = kube::Config::new(url.parse().unwrap());
        config.root_cert = Some(vec![self.certificate.der().to_vec()]);
        config.auth_info = AuthInfo {
            token_file: Some(self.folder.path().join("token").display().to_string()),
            ..AuthInfo::default()
        };
        kube::Client::try_from(config).unwrap()
    }

    pub async fn ready(&self) {
        let client = self.client();
        eventually(Duration::from_secs(120), "kube-apiserver is ready", || {
            let (client, said) = (client.clone(), self.output());
            async move {
                let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
                client.request_text(request).await.map_err(|error| {
                    let last: Vec<&str> = said.lines().rev().take(5).collect();
                    format!("{error}: {last:#?}")
                })
            }
        })
        .await;
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// Keys, a certificate and a token, for this run alone.
fn write_files(folder: &Path) -> rcgen::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let accounts = rcgen::KeyPair::generate().unwrap();
    let token = format!("{:032x}", rand::random::<u128>());
    let files = [
        ("tls.crt", certificate.pem()),
        ("tls.key", key.serialize_pem()),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        (
            "tokens.csv",
            format!("{token},admin,admin,system:masters\n"),
        ),
        ("token", token),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    certificate
}
