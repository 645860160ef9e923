//! What a process exports: one trace over both sides of a call, logs that name it, metrics.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

use sextant_testkit::{Collector, Process};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const METHOD: &str = "/sextant.certauthority.v1.Seal/Seal";

#[tokio::test]
async fn a_call_is_one_trace_with_logs_and_metrics() {
    let collector = Collector::start().await;
    // Cargo builds examples beside the tests.
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/traced");
    let endpoint = collector.endpoint();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut process = Process::spawn::<&str>(&program, &[], &environment).unwrap();
    let status = process.wait(DEADLINE).await;
    let output = process.output();
    assert!(status.success(), "{output}");

    // The exporters send what they have before the process ends.
    let spans = collector.spans();
    let of_kind = |kind| {
        spans
            .iter()
            .find(|span| span.name == METHOD && span.kind == kind)
    };
    let (server, client) = (of_kind(2).unwrap(), of_kind(3).unwrap());
    assert_eq!(server.service, "traced");
    assert_eq!(server.trace_id, client.trace_id);
    assert_eq!(server.parent, client.span_id);
    for span in [server, client] {
        assert_eq!(span.attributes["rpc.system"], "grpc");
        assert_eq!(
            span.attributes["rpc.service"],
            "sextant.certauthority.v1.Seal"
        );
        assert_eq!(span.attributes["rpc.method"], "Seal");
        assert_eq!(span.attributes["rpc.grpc.status_code"], "0");
    }
    // Everything that the admin port tells, under the same names.
    let exported = collector.metrics();
    for line in output.lines() {
        let Some((name, _)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) else {
            continue;
        };
        let names = ["", "_total", "_info"].map(|suffix| format!("traced/{name}{suffix}"));
        assert!(
            names.iter().any(|name| exported.contains(name)),
            "{name}: {exported:?}"
        );
    }
    assert!(exported.contains(&"traced/sextant_rpc_server_duration_seconds".to_owned()));
    assert!(
        collector
            .logs()
            .iter()
            .any(|log| log == "traced: in the handler")
    );

    let trace: String = server
        .trace_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let line = output
        .lines()
        .find(|line| line.contains("in the handler"))
        .unwrap();
    assert!(line.contains(&format!(r#""trace_id":"{trace}""#)), "{line}");
    assert!(line.contains(r#""service":"traced""#), "{line}");
    let labels = format!(r#"method="{METHOD}",code="Ok""#);
    // Only servers know who calls.
    let server = format!(r#"{labels},caller="supervisor""#);
    for (side, labels) in [("client", &labels), ("server", &server)] {
        let count = format!("sextant_rpc_{side}_duration_seconds_count{{{labels}}} 1");
        assert!(output.contains(&count), "{count}\n{output}");
    }
    // Exemplars: of the bucket that the call is in, the trace that it is.
    let exemplar = format!("# {{trace_id=\"{trace}\"}} ");
    let bucket = "sextant_rpc_server_duration_seconds_bucket{";
    let with = |line: &&str| line.starts_with(bucket) && line.contains(&exemplar);
    assert_eq!(output.lines().filter(with).count(), 1, "{output}");
}
