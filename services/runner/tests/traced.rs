//! Starts of children in traces, and what children are told of the exporter.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop at a surprise"
)]

use std::time::Duration;

use sextant_kit::telemetry::{Traces, collector};
use sextant_runner::child::{Child, Spec};
use sextant_testkit::Collector;

const DEADLINE: Duration = Duration::from_secs(20);
const DONE: &str = "the child was asked";
const INNER: &str = "a_child_of_a_process_with_these_variables";

#[tokio::test]
async fn the_start_of_a_child_is_a_span() {
    let collector = Collector::start().await;
    let traces = Traces::init("runner", &collector.endpoint());
    let child = Child::supervise(Spec::new("sleeper", "/bin/sleep").arguments(["600"]));
    let mut status = child.status();
    let running = status.wait_for(|status| status.pid().is_some());
    let running = tokio::time::timeout(DEADLINE, running).await.unwrap();
    let pid = running.unwrap().pid().unwrap();
    child.stop().await;
    let missing = Child::supervise(Spec::new("missing", "/no/such/program"));
    let mut status = missing.status();
    let crashed = status.wait_for(|status| status.crashes > 0);
    tokio::time::timeout(DEADLINE, crashed)
        .await
        .unwrap()
        .unwrap();
    missing.stop().await;
    traces.shutdown().await;

    let spans = collector.spans();
    let start = |name: &str| {
        let named = |span: &&sextant_testkit::Span| {
            let child = span.attributes.get("process.executable.name");
            span.name == "child.start" && child.is_some_and(|child| child == name)
        };
        spans
            .iter()
            .find(named)
            .unwrap_or_else(|| panic!("{spans:?}"))
    };
    let sleeper = start("sleeper");
    assert_eq!(sleeper.attributes["process.pid"], pid.to_string());
    assert_eq!(sleeper.attributes["process.executable.path"], "/bin/sleep");
    assert!(!sleeper.failed && start("missing").failed, "{spans:?}");
}

/// Its exporter would speak TLS with our plaintext socket.
#[test]
fn a_child_is_not_told_how_we_reach_a_collector_of_others() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", INNER, "--nocapture"]);
    command.envs(collector::VARIABLES.map(|name| (name, "/a/file")));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(DONE), "{output:?}");
}

/// The other half of the test above, which sets the variables.
#[tokio::test]
async fn a_child_of_a_process_with_these_variables() {
    if collector::VARIABLES
        .iter()
        .any(|name| std::env::var_os(name).is_none())
    {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (part, file) = (
        folder.path().join("part"),
        folder.path().join("environment"),
    );
    let script = format!(
        "env > {0} && mv {0} {1}; sleep 600",
        part.display(),
        file.display()
    );
    let child = Child::supervise(Spec::new("env", "/bin/sh").arguments(["-c", &script]));
    let told = sextant_testkit::eventually(DEADLINE, "the environment", || async {
        std::fs::read_to_string(&file)
    })
    .await;
    child.stop().await;
    for name in collector::VARIABLES {
        assert!(!told.contains(name), "{told}");
    }
    println!("{DONE}");
}
