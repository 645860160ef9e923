//! The whole program against a cluster in this process.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod admin;
mod cluster;
mod hosted;

use cluster::Cluster;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn enrols_once_and_keeps_the_certificate() {
    let cluster = Cluster::start();
    let first = cluster.sextant("status");
    assert_eq!(first.code(), 0, "{}", first.out);
    assert!(
        first.out.contains("supervisor") && first.out.contains("v1.37.2"),
        "{}",
        first.out
    );
    assert_eq!(cluster.calls(), ["Enroll", "Status"]);
    let mode = std::fs::metadata(cluster.state("admin.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(cluster.sextant("status -o json").code(), 0);
    assert_eq!(cluster.calls(), ["Status"]);
}

#[test]
fn renews_past_half_life_and_enrols_when_expired() {
    let cluster = Cluster::start();
    cluster.sextant("status").code();
    cluster.calls();
    cluster
        .sextant_at("status", OffsetDateTime::now_utc() + 13 * HOUR)
        .code();
    assert_eq!(cluster.calls(), ["Status", "RenewAdmin"]);
    cluster
        .sextant_at("status", OffsetDateTime::now_utc() + 25 * HOUR)
        .code();
    assert_eq!(cluster.calls()[..2], ["Enroll", "Status"]);
}

#[test]
fn follows_a_cluster_made_anew() {
    let cluster = Cluster::start();
    cluster.sextant("credential").code();
    let cluster = cluster.made_anew();
    assert_eq!(cluster.sextant("status").code(), 0);
    assert_eq!(cluster.calls(), ["Enroll", "Status"]);
    cluster.sextant("credential").code();
    assert_eq!(
        cluster.calls(),
        ["IssueKubeCredential 0"],
        "the old cluster's is of no use"
    );
}

#[test]
fn says_why_it_cannot_enrol() {
    let cluster = Cluster::start();
    let volume = cluster.home.path().join("volume");
    std::fs::write(volume.join("token"), "old").unwrap();
    let message = cluster.sextant("status").message();
    assert!(
        message.contains("has expired") && message.contains("c0ffee"),
        "{message}"
    );
    let other = sextant_testkit::Root::new();
    std::fs::write(volume.join("token"), "good").unwrap();
    std::fs::write(volume.join("ca.pem"), other.bundle().mesh_pem()).unwrap();
    cluster.calls();
    let outcome = cluster.sextant("status");
    assert_eq!(
        outcome.result.as_ref().unwrap_err().exit_code(),
        3,
        "{}",
        outcome.message()
    );
    assert!(
        cluster.calls().is_empty(),
        "the token was shown to a stranger"
    );
    let nobody = cluster.sextant("status --server 127.0.0.1:1");
    assert!(nobody.message().contains("make up"), "{}", nobody.message());
    assert_eq!(nobody.result.unwrap_err().exit_code(), 3);
}

#[test]
fn tells_refusals_in_the_cluster_s_words() {
    let cluster = Cluster::start();
    let unknown = cluster.sextant("token revoke other");
    assert!(
        unknown.message().contains("there is no token other"),
        "{}",
        unknown.message()
    );
    assert_eq!(unknown.result.unwrap_err().exit_code(), 1);
    let away = cluster.sextant("token list");
    assert!(
        away.message().contains("datastore is away"),
        "{}",
        away.message()
    );
    assert_eq!(away.result.unwrap_err().exit_code(), 1);
    assert_eq!(
        cluster.sextant("token revoke abcdef").out,
        "Token abcdef is revoked.\n"
    );
    assert_eq!(
        cluster.sextant("node remove node-3").out,
        "Node node-3 is removed.\n"
    );
}

#[test]
fn makes_tokens() {
    let cluster = Cluster::start();
    let made = cluster.sextant("token create --node node-3 --ttl 30m --uses 2 --cidr 10.0.0.0/8");
    assert_eq!(made.out, "K10c0ffee::abcdef:secret\n");
    assert!(
        made.err.contains("node node-3 join 2 times within 30m"),
        "{}",
        made.err
    );
    let asked = cluster.calls().pop().unwrap();
    for wanted in [
        "\"node-3\"",
        "\"10.0.0.0/8\"",
        "max_uses: 2",
        "ttl_seconds: 1800",
    ] {
        assert!(asked.contains(wanted), "{asked}");
    }
    let file = cluster.home.path().join("token");
    let saved = cluster.sextant(&format!("token create --output-file {}", file.display()));
    assert!(
        saved.out.is_empty() && !saved.err.contains("secret"),
        "{}{}",
        saved.out,
        saved.err
    );
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "K10c0ffee::abcdef:secret\n"
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn warns_of_certificates_that_were_not_renewed() {
    let cluster = Cluster::start();
    let outcome = cluster.sextant("certificate check");
    assert_eq!(outcome.code(), 1);
    assert!(outcome.out.contains("OVERDUE") && outcome.err.contains("1 certificate"));
}

#[test]
fn credential_comes_from_the_cache_until_half_life() {
    let cluster = Cluster::start();
    let first = cluster.sextant("credential");
    assert_eq!(first.code(), 0);
    let answer: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(answer["apiVersion"], "client.authentication.k8s.io/v1");
    assert_eq!(answer["kind"], "ExecCredential");
    let status = &answer["status"];
    assert!(
        status["clientKeyData"]
            .as_str()
            .unwrap()
            .contains("PRIVATE KEY")
    );
    assert!(
        status["clientCertificateData"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert!(
        status["expirationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert_eq!(cluster.calls(), ["Enroll", "IssueKubeCredential 0"]);
    assert_eq!(cluster.sextant("credential").out, first.out);
    assert!(cluster.calls().is_empty());
    let later = cluster.sextant_at("credential", OffsetDateTime::now_utc() + 13 * HOUR);
    assert_ne!(later.out, first.out);
}

#[test]
fn credential_serves_what_it_has_while_the_cluster_is_away() {
    let cluster = Cluster::start();
    let first = cluster.sextant("credential");
    let line = "credential --server 127.0.0.1:1";
    let away = cluster.sextant_at(line, OffsetDateTime::now_utc() + 13 * HOUR);
    assert_eq!((away.code(), away.out), (0, first.out));
    let ended = cluster.sextant_at(line, OffsetDateTime::now_utc() + 25 * HOUR);
    assert_eq!(ended.result.unwrap_err().exit_code(), 3);
}

#[test]
fn many_kubectls_at_once_ask_once() {
    let cluster = Cluster::start();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| cluster.sextant("credential").out))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(cluster.calls(), ["Enroll", "IssueKubeCredential 0"]);
}

#[test]
fn a_static_kubeconfig_holds_a_certificate_of_the_wished_life() {
    let cluster = Cluster::start();
    let file = cluster.home.path().join("config");
    let line = format!(
        "kubeconfig --static --ttl 2h --output-file {}",
        file.display()
    );
    let outcome = cluster.sextant(&line);
    assert_eq!((outcome.code(), outcome.out.as_str()), (0, ""));
    assert!(
        outcome.err.contains("export KUBECONFIG="),
        "{}",
        outcome.err
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("client-key-data") && !text.contains("exec:"),
        "{text}"
    );
    assert_eq!(cluster.calls(), ["Enroll", "IssueKubeCredential 7200"]);
}

#[test]
fn a_dashboard_without_a_terminal_is_printed_once() {
    let cluster = Cluster::start();
    let printed = cluster.sextant("dashboard");
    assert_eq!(printed.code(), 0, "{}", printed.out);
    for wanted in ["SERVICES", "12.0 MiB", "CERTIFICATES", "Started"] {
        assert!(printed.out.contains(wanted), "{wanted}: {}", printed.out);
    }
    // Rates need two looks; what hardly changes isn't asked for twice.
    assert_eq!(cluster.calls(), ["Enroll", "Overview", "Overview"],);
    let json = cluster.sextant("dashboard --once -o json").out;
    let view: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(view["replicas"][0]["residentBytes"], 12 << 20);
    let nobody = cluster.sextant("dashboard --once --server 127.0.0.1:1");
    assert_eq!(nobody.result.unwrap_err().exit_code(), 3);
}
