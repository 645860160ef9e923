//! What each command shows, in every format. `UPDATE_GOLDEN=1 cargo test -p sextant-cli --test golden` writes
//! the files anew; look at the difference before you commit it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;
mod traces;

use clap::Parser;
use sextant_cli::args::{Cli, Command, Token};
use sextant_cli::commands::certificate::CertificatesView;
use sextant_cli::commands::kubeconfig::{KubeconfigView, User};
use sextant_cli::commands::node::NodesView;
use sextant_cli::commands::status::StatusView;
use sextant_cli::commands::telemetry::{LogLevelsView, SamplingView};
use sextant_cli::commands::token::{NewToken, TokensView};
use sextant_cli::commands::version::VersionView;
use sextant_cli::output::{Format, render};
use sextant_proto::supervisor::{
    CertificateInfo, ChangeTelemetryResponse, ClusterStatus, CreateTokenResponse,
    KubeAccessResponse, ListCertificatesResponse, ListNodesResponse, ListTokensResponse, NodeInfo,
    PartStatus, ReplicaTelemetry, TokenInfo,
};
use sextant_proto::telemetry::Settings;
use std::path::{Path, PathBuf};
use support::{HOUR, NOW, all_formats, compare, now};

fn part(name: &str, address: &str, reasons: &[&str]) -> PartStatus {
    PartStatus {
        name: name.into(),
        address: address.into(),
        ready: reasons.is_empty(),
        reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
    }
}

fn node(name: &str, ready: bool) -> NodeInfo {
    support::node(name, ready.then_some("172.20.0.5:7443"))
}

fn nodes() -> ListNodesResponse {
    ListNodesResponse {
        nodes: vec![node("node-2", false), node("node-1", true)],
    }
}

fn status(parts: Vec<PartStatus>) -> ClusterStatus {
    ClusterStatus {
        cluster_name: "sextant".into(),
        version: "0.1.0".into(),
        kubernetes_version: "v1.37.2".into(),
        parts,
    }
}

#[test]
fn status_names_what_each_part_waits_for() {
    let reasons = ["datastore: dialling datastore-proxy:2379: connection refused"];
    let parts = vec![
        part("token-service", "172.20.0.4:7443", &reasons),
        part("cert-authority", "172.20.0.2:7443", &[]),
    ];
    let view = StatusView::new(status(parts), nodes());
    assert!(!view.is_ready());
    all_formats("status", &view);
}

#[test]
fn status_is_ready_when_all_are() {
    let parts = || vec![part("cert-authority", "172.20.0.2:7443", &[])];
    let view = StatusView::new(status(parts()), ListNodesResponse::default());
    assert!(view.is_ready());
    compare(
        "status-ready.txt",
        &render(Format::Table, &view, now()).unwrap(),
    );
    assert!(!StatusView::new(status(Vec::new()), ListNodesResponse::default()).is_ready());
    assert!(!StatusView::new(status(parts()), nodes()).is_ready());
}

#[test]
fn nodes_are_listed_by_name() {
    all_formats("nodes", &NodesView::from(nodes()));
}

fn token(id: &str, uses: u32, expires: i64, revoked: bool) -> TokenInfo {
    TokenInfo {
        id: id.into(),
        node_name: if uses == 0 {
            "node-3".into()
        } else {
            String::new()
        },
        cidrs: if revoked {
            vec!["10.0.0.0/8".into(), "fd00::/8".into()]
        } else {
            Vec::new()
        },
        max_uses: 1,
        uses,
        created_unix: NOW - HOUR,
        expires_unix: expires,
        revoked,
        description: format!("rack {id}"),
    }
}

#[test]
fn tokens_say_whether_they_can_be_used() {
    let tokens = vec![
        token("aaaa", 0, NOW + HOUR, false),
        token("bbbb", 1, NOW + HOUR, false),
        token("cccc", 0, NOW - 1, false),
        token("dddd", 0, NOW + HOUR, true),
    ];
    all_formats("tokens", &TokensView::from(ListTokensResponse { tokens }));
}

#[test]
fn a_new_token_is_alone_on_stdout() {
    let made = || CreateTokenResponse {
        token: "K10c0ffee::abcdef:secret".into(),
        id: "abcdef".into(),
        expires_unix: NOW + HOUR,
        supervisors: vec!["sextant.example.org:9443".into()],
    };
    let create = |more: &[&str]| {
        let line = ["sextant", "token", "create", "--node", "node-3"];
        match Cli::parse_from(line.iter().chain(more)).command {
            Command::Token(Token::Create(wanted)) => wanted,
            other => panic!("not create: {other:?}"),
        }
    };
    let wanted = create(&[]);
    let shown = NewToken::new(made(), &wanted, None);
    all_formats("token", &shown);
    compare("token-hint.txt", &shown.hint(&wanted));
    let wanted = create(&["--output-file", "/tmp/token"]);
    let saved = NewToken::new(made(), &wanted, Some("sextant_nodes".to_owned()));
    all_formats("token-file", &saved);
    compare("token-file-hint.txt", &saved.hint(&wanted));
}

fn certificate(
    profile: &str,
    path: &str,
    subject: &str,
    begins: i64,
    life: i64,
) -> CertificateInfo {
    CertificateInfo {
        requester: format!("spiffe://td/{path}"),
        profile: profile.into(),
        subject: subject.into(),
        sans: vec![format!("spiffe://td/{path}")],
        serial: format!("{:x}", begins ^ life),
        not_before_unix: begins,
        not_after_unix: begins + life,
        unused: false,
    }
}

#[test]
fn certificates_are_judged_by_the_newest_of_an_owner() {
    let kubelet = "CN=system:node:node-1,O=system:nodes";
    let day = 24 * HOUR;
    let certificates = || ListCertificatesResponse {
        certificates: vec![
            certificate(
                "PROFILE_MESH",
                "service/token-service",
                "",
                NOW - 20 * HOUR,
                day,
            ),
            certificate(
                "PROFILE_MESH",
                "service/token-service",
                "",
                NOW - 8 * HOUR,
                day,
            ),
            certificate(
                "PROFILE_MESH",
                "service/supervisor",
                "",
                NOW - 17 * HOUR,
                day,
            ),
            certificate("PROFILE_MESH", "admin", "", NOW - 23 * HOUR, day),
            certificate(
                "PROFILE_KUBELET_CLIENT",
                "node/node-1",
                kubelet,
                NOW - HOUR,
                day,
            ),
            CertificateInfo {
                unused: true,
                ..certificate(
                    "PROFILE_METRICS_SERVER_SERVING",
                    "service/supervisor",
                    "CN=metrics-server",
                    NOW - 20 * HOUR,
                    day,
                )
            },
        ],
        left_out: 0,
    };
    let view = CertificatesView::new(certificates(), false, now());
    assert_eq!(view.overdue(), 1);
    all_formats("certificates", &view);
    let all = CertificatesView::new(certificates(), true, now());
    assert_eq!(all.overdue(), 1);
    compare(
        "certificates-all.txt",
        &render(Format::Table, &all, now()).unwrap(),
    );
}

#[test]
fn versions_of_both_ends() {
    all_formats("version", &VersionView::new(None));
    all_formats(
        "version-cluster",
        &VersionView::new(Some(status(Vec::new()))),
    );
}

fn kubeconfig(line: &[&str]) -> KubeconfigView {
    let access = KubeAccessResponse {
        cluster_name: "sextant".into(),
        server: "https://127.0.0.1:6443".into(),
        certificate_authority_pem: "-----BEGIN CERTIFICATE-----\n".into(),
    };
    let cli = Cli::parse_from([&["sextant", "kubeconfig"], line].concat());
    let user = User::exec(Path::new("/usr/local/bin/sextant"), &cli.global, None);
    KubeconfigView::new(access, None, user)
}

#[test]
fn a_kubeconfig_calls_this_program() {
    let view = kubeconfig(&["--enrol-dir", "/run/enrol", "--context", "dev"]);
    compare(
        "kubeconfig.yaml",
        &render(Format::Table, &view, now()).unwrap(),
    );
    assert_eq!(
        render(Format::Table, &view, now()).unwrap(),
        render(Format::Yaml, &view, now()).unwrap()
    );
}

#[test]
fn kubectl_reads_the_kubeconfig() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/bin/kubectl");
    let kubectl = if built.exists() {
        built
    } else {
        PathBuf::from("kubectl")
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    std::fs::write(
        &path,
        render(Format::Table, &kubeconfig(&[]), now()).unwrap(),
    )
    .unwrap();
    let run = std::process::Command::new(kubectl)
        .args([
            "config",
            "view",
            "-o",
            "jsonpath={.users[0].user.exec.command}",
            "--kubeconfig",
        ])
        .arg(&path)
        .output();
    let Ok(run) = run else {
        println!("SKIP no kubectl in out/bin or PATH");
        return;
    };
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&run.stdout),
        "/usr/local/bin/sextant"
    );
}

fn telemetry() -> ChangeTelemetryResponse {
    let as_configured = Settings {
        log_filter: "info".into(),
        configured_log_filter: "info".into(),
        sampling_ratio: 1.0,
        configured_sampling_ratio: 1.0,
        slow_ms: 1000,
        exports_traces: true,
        ..Settings::default()
    };
    let changed = Settings {
        log_filter: "info,datastore_proxy::engine=debug".into(),
        log_reverts_in_seconds: 540,
        sampling_ratio: 0.1,
        slow_ms: 200,
        ..as_configured.clone()
    };
    let silent = Settings {
        exports_traces: false,
        ..as_configured.clone()
    };
    let replica = |service: &str, place: &str, settings| ReplicaTelemetry {
        service: service.into(),
        place: place.into(),
        settings: Some(settings),
        error: String::new(),
    };
    let away = ReplicaTelemetry {
        service: "node-agent".into(),
        place: "node-2".into(),
        settings: None,
        error: "it has no session with a supervisor".into(),
    };
    ChangeTelemetryResponse {
        replicas: vec![
            replica("cert-authority", "172.20.0.2:7443", silent),
            replica("datastore-proxy", "172.20.0.3:2379", changed),
            replica("node-agent", "node-1", as_configured),
            away,
        ],
    }
}

#[test]
fn log_levels_of_each_process() {
    all_formats("log-level", &LogLevelsView::from(telemetry()));
}

#[test]
fn sampling_of_each_process() {
    all_formats("sampling", &SamplingView::from(telemetry()));
}
