//! K3s's way out: what a kube-apiserver has stored through a running kine is there after `import-kine`, and another
//! kube-apiserver goes on with it.

use crate::apiserver::ApiServer;
use crate::compare;
use crate::load::{Kind, NAMESPACE};
use crate::support::database::Server;
use crate::support::{self, Served, Store};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;
use sextant_testkit::{Process, eventually};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

support::on_each_backend! {
    what_a_running_kine_has_stored_lives_on,
}

const OBJECTS: usize = 120;
/// What the tests' ConfigMaps say, by their names.
type Known = BTreeMap<String, String>;

async fn what_a_running_kine_has_stored_lives_on(kines: Store) {
    let Some(binary) = crate::binary() else {
        return;
    };
    let Some(kine) = std::env::var_os("TEST_KINE").map(PathBuf::from) else {
        println!("SKIP TEST_KINE names no kine");
        return;
    };
    let (_folder, path) = support::store();
    let (state, known) = filled_by_kine(&kine, &binary, &kines).await;
    let import = tokio::process::Command::new(env!("CARGO_BIN_EXE_datastore-proxy"))
        .args(["--endpoint", &format!("sqlite://{}", path.display())])
        .arg("import-kine")
        .arg(&state)
        .output();
    let import = import.await.unwrap();
    assert!(import.status.success(), "{import:?}");

    let served = Served::start(&path).await;
    let mut store = served.clients().await;
    let server = ApiServer::start(&binary, &format!("http://{}", served.address));
    server.ready().await;
    let client = server.client();
    let objects = Kind::ALL[0].api(&client);
    assert_eq!(said(&objects).await, known);
    for kind in &Kind::ALL {
        compare::cache_with_store(kind, &client, &mut store).await;
    }
    // It goes on as if nothing had happened.
    let known = work(&objects, known).await;
    assert_eq!(said(&objects).await, known);
    drop(server);
    served.stop().await;
}

/// The same database as kine and as we are told of it.
fn endpoints(kines: &Store) -> (String, String) {
    match kines {
        Store::Sqlite(folder, _) => {
            let state = folder.path().join("kine.db").display().to_string();
            (format!("sqlite://{state}?_journal_mode=WAL"), state)
        }
        Store::Server(server @ Server::MariaDb(_)) => {
            let there = format!("mysql://sextant@tcp(127.0.0.1:{})/kine", server.port());
            (there, server.endpoint("kine"))
        }
        Store::Server(server @ Server::Postgres(_)) => {
            let there = format!("postgres://sextant@127.0.0.1:{}/kine", server.port());
            (format!("{there}?sslmode=disable"), there)
        }
    }
}

/// Where kine's table is, and what was acknowledged to who filled it.
async fn filled_by_kine(kine: &Path, binary: &Path, kines: &Store) -> (String, Known) {
    let (endpoint, state) = endpoints(kines);
    let port = sextant_testkit::free_port();
    let arguments = [
        format!("--endpoint={endpoint}"),
        format!("--listen-address=127.0.0.1:{port}"),
        "--metrics-bind-address=0".to_owned(),
    ];
    let mut process = Process::spawn(kine, &arguments, &[]).unwrap();
    eventually(Duration::from_secs(30), "kine listens", || async {
        let dialed = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        dialed
            .map(drop)
            .map_err(|error| format!("{error}: {}", process.output()))
    })
    .await;
    let server = ApiServer::start(binary, &format!("http://127.0.0.1:{port}"));
    server.ready().await;
    let known = work(&Kind::ALL[0].api(&server.client()), Known::new()).await;
    drop(server);
    process.signal(Signal::SIGTERM);
    process.wait(Duration::from_secs(30)).await;
    (state, known)
}

/// One thing after the other: every third object is made or made anew, another one changed, another one deleted.
async fn work(objects: &Api<DynamicObject>, mut known: Known) -> Known {
    for number in 0..OBJECTS {
        let name = format!("moved-{}", number % (OBJECTS / 2));
        match known.get(&name).cloned() {
            None => {
                let object = json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": name, "namespace": NAMESPACE},
                    "data": {"said": number.to_string()},
                });
                let object = serde_json::from_value(object).unwrap();
                objects
                    .create(&PostParams::default(), &object)
                    .await
                    .unwrap();
                known.insert(name, number.to_string());
            }
            Some(_) if number % 3 == 0 => {
                objects
                    .delete(&name, &DeleteParams::default())
                    .await
                    .unwrap();
                known.remove(&name);
            }
            Some(_) => {
                let mut object = objects.get(&name).await.unwrap();
                object.data["data"]["said"] = number.to_string().into();
                objects
                    .replace(&name, &PostParams::default(), &object)
                    .await
                    .unwrap();
                known.insert(name, number.to_string());
            }
        }
    }
    known
}

async fn said(objects: &Api<DynamicObject>) -> Known {
    let all = objects.list(&ListParams::default()).await.unwrap();
    let said = |object: DynamicObject| {
        let said = object.data["data"]["said"].as_str()?.to_owned();
        Some((object.metadata.name?, said))
    };
    all.items.into_iter().filter_map(said).collect()
}
