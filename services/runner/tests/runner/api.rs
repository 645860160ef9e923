//! A client of kube-apiserver is started once that is ready.

use std::process::{Child, Command};

use sextant_testkit::{eventually, free_port};

use super::{DEADLINE, component, flags, processes, surroundings};

/// Ends with the test.
struct Api(Child);

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_client_of_the_api_is_started_once_that_is_ready() {
    let Some(program) = component() else { return };
    let port = free_port();
    let kubeconfig =
        format!(r#"{{"clusters":[{{"cluster":{{"server":"https://localhost:{port}"}}}}]}}"#);
    let around = surroundings(&[], &[("kubeconfig.yaml", &kubeconfig, false)]).await;
    let runner = around.run(&program);
    eventually(DEADLINE, "the runner to wait for the API", async || {
        let waiting = runner.ctx.readiness.waiting();
        let waits = waiting
            .iter()
            .any(|task| task.reason.starts_with("kube-apiserver: dialling"));
        if waits { Ok(()) } else { Err(waiting) }
    })
    .await;
    assert_eq!(processes(&around), [], "it waits for the API");

    // The same program with the certificates of the one that waits stands for the API.
    let mut api = flags(around.folder.path(), &[]);
    api[0] = format!("--secure-port={port}");
    let _api = Api(Command::new(&program).args(api).spawn().unwrap());
    runner.ready().await;
    assert_eq!(processes(&around).len(), 2, "the API and its client");
    runner.stop().await;
}
