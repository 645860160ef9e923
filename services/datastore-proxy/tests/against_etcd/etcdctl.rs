//! An unmodified etcdctl: it must say of datastore-proxy what it says of etcd.
//!
//! `TEST_ETCDCTL` names its binary beside `TEST_ETCD`; without them the test is skipped.

use super::{Etcd, support};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::Served;

const PATIENCE: Duration = Duration::from_secs(10);

/// One server, as etcdctl sees it.
#[derive(Clone)]
struct Ctl {
    binary: OsString,
    endpoint: String,
}

impl Ctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--endpoints={}", self.endpoint))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What it says and whether it worked, with the endpoint named alike for all servers.
    fn run(&self, args: &[&str], input: &str) -> (String, bool) {
        let mut child = self.command(args).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        // Failures are log lines with times in them; their last field is the server's answer.
        let failed = String::from_utf8_lossy(&output.stderr);
        let reasons = failed
            .lines()
            .filter_map(|line| line.split("desc = ").nth(1));
        reasons.for_each(|reason| said += reason);
        (
            said.replace(&self.endpoint, "ENDPOINT"),
            output.status.success(),
        )
    }

    fn works(&self, args: &[&str]) -> String {
        let (said, worked) = self.run(args, "");
        assert!(worked, "{args:?}: {said}");
        said
    }

    /// Its answer as JSON.
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["-w", "json"]).collect();
        serde_json::from_str(&self.works(&args)).unwrap()
    }
}

/// One that goes on until it is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Running {
    fn start(ctl: &Ctl, args: &[&str]) -> Self {
        let mut child = ctl.command(args).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            said.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next lines that it says.
    fn says(&self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => found.push(line),
                Err(error) => panic!("{error} after {found:?}"),
            }
        }
        found
    }
}

/// Everything whose output doesn't depend on ids: arguments and what is typed.
const ALIKE: &[(&[&str], &str)] = &[
    (&["put", "a", "1"], ""),
    (&["put", "a", "2", "--prev-kv"], ""),
    (&["put", "b"], "from standard input"),
    (&["put", "dir/x", "x"], ""),
    (&["put", "dir/y", "y"], ""),
    (&["get", "a"], ""),
    (&["get", "a", "-w", "fields"], ""),
    (&["get", "a", "--rev=2", "--print-value-only"], ""),
    (&["get", "--prefix", "dir/", "--keys-only"], ""),
    (
        &[
            "get",
            "",
            "--from-key",
            "--sort-by=MODIFY",
            "--order=DESCEND",
            "--limit=2",
        ],
        "",
    ),
    (
        &["get", "--prefix", "dir/", "--count-only", "-w", "fields"],
        "",
    ),
    (&["get", "a", "--rev=99"], ""),
    (
        &["txn", "-i=false"],
        "mod(\"a\") > \"0\"\nval(\"a\") = \"2\"\n\nput c 1\nget a\n\nget b\n\n",
    ),
    (
        &["txn", "-i=false"],
        "ver(\"a\") = \"7\"\n\nput d 1\n\nget a\ndel --prefix dir/\n\n",
    ),
    (&["put", "e", "1", "--lease=1234"], ""),
    (&["put", "nothing", "--ignore-value"], ""),
    (&["del", "c", "--prev-kv"], ""),
    (&["del", "missing"], ""),
    (&["compaction", "3"], ""),
    (&["compaction", "3"], ""),
    (&["compaction", "99"], ""),
    (&["get", "a", "--rev=2"], ""),
    (&["endpoint", "hashkv", "-w", "simple"], ""),
    (&["endpoint", "hashkv", "--rev=5", "-w", "simple"], ""),
    (&["alarm", "list"], ""),
    (&["alarm", "disarm"], ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_says_the_same_of_both() {
    let (Some(etcd), Some(binary)) = (
        std::env::var_os("TEST_ETCD"),
        std::env::var_os("TEST_ETCDCTL"),
    ) else {
        println!("SKIP TEST_ETCD and TEST_ETCDCTL don't name both binaries");
        return;
    };
    let etcd = Etcd::start(etcd.as_ref()).await;
    let (folder, path) = support::store();
    let served = Served::start(&path).await;
    let theirs = Ctl {
        binary: binary.clone(),
        endpoint: etcd.url.trim_start_matches("http://").to_owned(),
    };
    let ours = Ctl {
        binary,
        endpoint: served.address.to_string(),
    };
    let file = folder.path().join("snapshot.db");
    let compared = tokio::task::spawn_blocking(move || {
        for (args, input) in ALIKE {
            let (expected, works) = theirs.run(args, input);
            let found = ours.run(args, input);
            let ids = |said: String| without_ids(&said);
            assert_eq!((ids(found.0), found.1), (ids(expected), works), "{args:?}");
        }
        let (said, worked) = ours.run(&["role", "list"], "");
        assert!(
            !worked && said.contains("users and roles are not served"),
            "{said}"
        );
        for ctl in [&theirs, &ours] {
            leases(ctl);
            watches(ctl);
            locks(ctl);
            elections(ctl);
            care(ctl, &file);
        }
        file
    });
    let file: PathBuf = compared.await.unwrap();
    served.stop().await;

    let verified = Command::new(env!("CARGO_BIN_EXE_datastore-proxy"))
        .args(["snapshot", "verify"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// `-w fields` shows ids and the term, which are each server's own.
fn without_ids(said: &str) -> String {
    let own = ["\"ClusterID\"", "\"MemberID\"", "\"RaftTerm\""];
    let kept = said
        .lines()
        .filter(|line| !own.iter().any(|own| line.starts_with(own)));
    kept.collect::<Vec<_>>().join("\n")
}

fn leases(ctl: &Ctl) {
    let said = ctl.works(&["lease", "grant", "600"]);
    let id = said.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(said, format!("lease {id} granted with TTL(600s)\n"));
    ctl.works(&["put", "leased", "v", &format!("--lease={id}")]);
    let told = ctl.works(&["lease", "timetolive", &id, "--keys"]);
    assert!(told.contains("attached keys([leased])"), "{told}");
    let renewed = ctl.works(&["lease", "keep-alive", "--once", &id]);
    assert_eq!(renewed, format!("lease {id} keepalived with TTL(600)\n"));
    assert!(ctl.works(&["lease", "list"]).contains(&id));
    assert_eq!(
        ctl.works(&["lease", "revoke", &id]),
        format!("lease {id} revoked\n")
    );
    assert_eq!(ctl.works(&["get", "leased"]), "");
}

fn watches(ctl: &Ctl) {
    let watch = Running::start(ctl, &["watch", "watched", "--rev=3", "--prev-kv"]);
    ctl.works(&["put", "watched", "1"]);
    ctl.works(&["put", "watched", "2"]);
    ctl.works(&["del", "watched"]);
    let expected = [
        "PUT", "watched", "1", "PUT", "watched", "1", "watched", "2", "DELETE", "watched", "2",
        "watched", "",
    ];
    assert_eq!(watch.says(expected.len()), expected);
}

fn locks(ctl: &Ctl) {
    let holds = Running::start(ctl, &["lock", "lock"]);
    let held = holds.says(1).remove(0);
    assert!(held.starts_with("lock/"), "{held:?}");
    let waits = Running::start(ctl, &["lock", "lock"]);
    support::until(PATIENCE, || {
        let keys = ctl.works(&["get", "--prefix", "lock/", "--keys-only"]);
        keys.matches("lock/").count() == 2
    });
    ctl.works(&["del", &held]);
    assert!(waits.says(1)[0].starts_with("lock/"));
    assert_eq!(ctl.works(&["lock", "other", "echo", "held"]), "held\n");
}

fn elections(ctl: &Ctl) {
    let leads = Running::start(ctl, &["elect", "election", "one"]);
    let won = leads.says(2);
    assert!(
        won[0].starts_with("election/") && won[1] == "one",
        "{won:?}"
    );
    let listens = Running::start(ctl, &["elect", "-l", "election"]);
    assert_eq!(listens.says(2), won);
}

fn care(ctl: &Ctl, file: &Path) {
    assert!(
        ctl.works(&["defrag"])
            .starts_with("Finished defragmenting etcd member[ENDPOINT]")
    );
    let _ = std::fs::remove_file(file);
    let said = ctl.works(&["snapshot", "save", &file.display().to_string()]);
    assert!(said.contains("Snapshot saved at"), "{said}");
    let status = &ctl.json(&["endpoint", "status"])[0]["Status"];
    assert_eq!(
        (&status["version"], &status["storageVersion"]),
        (&"3.7.3".into(), &"3.7.0".into())
    );
    assert_eq!(status["leader"], status["header"]["member_id"]);
    for size in ["dbSize", "dbSizeInUse"] {
        assert!(
            status[size].as_u64().is_some_and(|size| size >= 4096),
            "{status}"
        );
    }
    assert!(
        status["errors"].is_null() && status["isLearner"].is_null(),
        "{status}"
    );
    ctl.works(&["endpoint", "health"]);
    let members = ctl.json(&["member", "list"]);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(1));
    assert_eq!(members["members"][0]["ID"], status["header"]["member_id"]);
}
