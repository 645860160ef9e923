//! The kernel's side of the node's network, each test in a network namespace of its own.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise"
)]

mod balancer;
mod dns;
mod node;
mod overlay;
mod policy;
mod sources;

use nix::sched::{CloneFlags, unshare};
use std::future::Future;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs `test` in a new network namespace with `lo` up; says SKIP where that isn't allowed.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("SKIP a network namespace can't be made here: {error}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            up("lo").await;
            test().await;
        });
    });
    thread.join().unwrap();
}

async fn up(name: &str) {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    let change = rtnetlink::LinkUnspec::new_with_name(name).up().build();
    handle.link().set(change).execute().await.unwrap();
}

/// Runs a program in this thread's namespace and gives its output.
fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}
