//! A real kube-apiserver as a process, and the etcd that it needs.

use crate::free_port;
use std::path::Path;

/// Flags of an etcd of one member that keeps nothing over a crash: clients at `url`, its data in `folder`.
#[must_use]
pub fn etcd_flags(url: &str, folder: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls=http://127.0.0.1:{}", free_port()),
        "--unsafe-no-fsync".to_owned(),
    ]
}

/// Its flags, whatever a test adds: on loopback, RBAC, and its files in `folder`: `tls.crt` and `tls.key` to serve with,
/// `accounts.pub` and `accounts.key` for ServiceAccounts' tokens.
#[must_use]
pub fn kube_apiserver_flags(etcd: &str, port: u16, folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers={etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
    ]
}
