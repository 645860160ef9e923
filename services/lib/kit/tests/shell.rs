//! The shell around a service, as an operator sees it: a real process, its exit codes, its admin port.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

use sextant_testkit::{Process, eventually, free_port};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(20);

/// Cargo builds examples beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/waiting")
}

struct Run {
    process: Process,
    port: u16,
    file: PathBuf,
}

impl Run {
    fn start(name: &str, extra: &[&str]) -> Self {
        let port = free_port();
        let file = std::env::temp_dir().join(format!("sextant-kit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let sets = [
            format!("common.admin_listen=127.0.0.1:{port}"),
            format!("file={}", file.display()),
        ];
        let mut args = vec!["serve"];
        args.extend(
            sets.iter()
                .chain([])
                .flat_map(|set| ["--set", set.as_str()]),
        );
        args.extend(extra);
        Self {
            process: Process::spawn(&program(), &args, &[]).unwrap(),
            port,
            file,
        }
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let failed = |e: std::io::Error| e.to_string();
        let address = ("127.0.0.1", self.port);
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .map_err(failed)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(failed)?;
        Ok(answer)
    }

    async fn wait_for(&self, path: &str, text: &str) -> String {
        eventually(DEADLINE, &format!("{path} answers `{text}`"), || async {
            let answer = self.get(path).await?;
            if answer.contains(text) {
                Ok(answer)
            } else {
                Err(answer)
            }
        })
        .await
    }

    /// A running `healthcheck` with these further arguments.
    fn check(&self, further: &[&str]) -> Process {
        let set = format!("common.admin_listen=127.0.0.1:{}", self.port);
        let arguments = [&["healthcheck", "--set", &set], further].concat();
        Process::spawn(&program(), &arguments, &[]).unwrap()
    }

    async fn healthcheck(&self) -> (bool, String) {
        let mut check = self.check(&[]);
        (check.wait(DEADLINE).await.success(), check.output())
    }

    async fn wait_for_output(&self, text: &str) {
        eventually(DEADLINE, text, || async {
            let output = self.process.output();
            if output.contains(text) {
                Ok(())
            } else {
                Err(output)
            }
        })
        .await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[tokio::test]
async fn says_what_it_waits_for_and_becomes_ready() {
    let run = Run::start("ready", &[]);
    let waiting = run.wait_for("/readyz", "No such file").await;
    assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
    assert!(
        waiting.contains(&format!("file: {}: No such file", run.file.display())),
        "{waiting}"
    );
    let json = run.get("/readyz?format=json").await.unwrap();
    assert!(
        json.contains(r#""ready":false"#) && json.contains(r#""name":"file""#),
        "{json}"
    );
    assert!(run.get("/livez").await.unwrap().starts_with("HTTP/1.1 200"));
    let (healthy, said) = run.healthcheck().await;
    assert!(!healthy && said.contains("503: file:"), "{said}");
    let mut brief = run.check(&["--wait", "1"]);
    assert!(!brief.wait(DEADLINE).await.success());
    assert!(brief.output().contains("503: file:"), "{}", brief.output());
    let mut patient = run.check(&["--wait", "600"]);

    std::fs::write(&run.file, "x").unwrap();
    run.wait_for("/readyz", "HTTP/1.1 200").await;
    assert_eq!(run.healthcheck().await, (true, String::new()));
    assert!(patient.wait(DEADLINE).await.success());
    assert_eq!(patient.output(), "");
    let metrics = run.get("/metrics").await.unwrap();
    for sample in [
        "sextant_rpc_server_open 0",
        "sextant_build_info{",
        "sextant_ready ",
        "sextant_process_resident_memory_bytes ",
        "sextant_process_cpu_seconds_total ",
    ] {
        assert!(metrics.contains(sample), "{sample} isn't in {metrics}");
    }
}

#[tokio::test]
async fn degraded_it_stays_ready_and_says_why() {
    let run = Run::start("degraded", &["--set", "degraded=true"]);
    std::fs::write(&run.file, "x").unwrap();
    let answer = run.wait_for("/readyz", "HTTP/1.1 200").await;
    assert!(
        answer.ends_with("ok\ndegraded: file: the file was taken away\n"),
        "{answer}"
    );
    let json = run.get("/readyz?format=json").await.unwrap();
    assert!(
        json.contains(r#""ready":true"#) && json.contains(r#""degraded":[{"name":"file""#),
        "{json}"
    );
    assert_eq!(run.healthcheck().await, (true, String::new()));
}

#[tokio::test]
async fn isnt_ready_before_it_has_started() {
    let run = Run::start("stuck", &["--set", "stuck=true"]);
    std::fs::write(&run.file, "x").unwrap();
    run.wait_for_output(r#""task":"file""#).await;
    let answer = run.get("/readyz").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("start: "),
        "{answer}"
    );
}

#[tokio::test]
async fn drains_on_sigterm_and_exits_with_zero() {
    let mut run = Run::start("drain", &["--set", "linger_ms=300"]);
    run.wait_for("/readyz", "file:").await;
    run.process.terminate();
    run.wait_for_output("draining").await;
    let draining = run.get("/readyz").await.unwrap();
    assert!(
        draining.contains("drain: the process is stopping"),
        "{draining}"
    );
    assert!(
        run.process.wait(DEADLINE).await.success(),
        "{}",
        run.process.output()
    );
}

#[tokio::test]
async fn open_work_holds_the_drain_only_up_to_its_limit() {
    let extra = [
        "--set",
        "linger_ms=600000",
        "--set",
        "common.drain_seconds=1",
    ];
    let mut run = Run::start("limit", &extra);
    run.wait_for("/readyz", "file:").await;
    run.process.terminate();
    assert!(run.process.wait(DEADLINE).await.success());
    assert!(
        run.process.output().contains("still open"),
        "{}",
        run.process.output()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let extra = [
        "--set",
        "linger_ms=600000",
        "--set",
        "common.drain_seconds=600",
    ];
    let mut run = Run::start("second", &extra);
    run.wait_for("/readyz", "file:").await;
    run.process.terminate();
    run.wait_for_output("draining").await;
    let start = Instant::now();
    run.process.terminate();
    assert!(run.process.wait(DEADLINE).await.success());
    assert!(start.elapsed() < DEADLINE, "{}", run.process.output());
}

#[tokio::test]
async fn a_taken_admin_port_is_named() {
    let run = Run::start("taken", &[]);
    run.wait_for("/livez", "ok").await;
    let set = format!("common.admin_listen=127.0.0.1:{}", run.port);
    let mut second = Process::spawn(&program(), &["--set", &set], &[]).unwrap();
    assert!(!second.wait(DEADLINE).await.success());
    let said = second.output();
    assert!(
        said.contains(&format!("can't listen on 127.0.0.1:{}", run.port)),
        "{said}"
    );
}

#[tokio::test]
async fn checks_and_prints_its_configuration() {
    let check = |args: &'static [&str], env: &'static [(&str, &str)]| async move {
        let mut process = Process::spawn(&program(), args, env).unwrap();
        let good = process.wait(DEADLINE).await.success();
        (good, process.output())
    };
    assert_eq!(check(&["--check-config"], &[]).await, (true, String::new()));
    let (good, said) = check(&["--check-config"], &[("SEXTANT_FIEL", "x")]).await;
    assert!(
        !good && said.contains("SEXTANT_FIEL") && said.contains("common, degraded, file"),
        "{said}"
    );
    let secret = [("SEXTANT_SECRET", "hunter2"), ("SEXTANT_FILE", "/x")];
    let printed: &'static _ = Box::leak(Box::new(secret));
    let (good, said) = check(&["--print-config"], printed).await;
    assert!(
        good && said.contains("file: /x") && said.contains("<redacted>"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    let (good, said) = check(&["--config-reference"], &[("SEXTANT_FIEL", "x")]).await;
    assert!(good && said.contains("`common.log`"), "{said}");
    let (good, said) = check(&["--version"], &[]).await;
    assert!(good && said.starts_with("waiting "), "{said}");
}
