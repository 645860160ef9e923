//! A pod of the chart as a process of this machine: with the pod's user, a root that is read only, the pod's mounts where the
//! pod has them, and its environment. Its network alone is this machine's.

use crate::chart::{Pod, items, text};
use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user of every container, and the group of every volume.
const USER: u32 = 65532;
/// Where kubelet mounts what an account needs to talk to the API.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Makes the root `$1`, binds the pairs that follow up to `--`, and becomes the program behind it.
const START: &str = r#"
root=$1
shift
mount -t tmpfs -o mode=0755 root "$root"
for folder in usr proc dev; do
    mkdir "$root/$folder"
    mount --rbind "/$folder" "$root/$folder"
done
for folder in bin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
mount -t tmpfs programs "$root/usr/local/bin"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else : > "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift
mkdir -p "$root/run/sextant"
mount -t tmpfs -o mode=2777,gid=65532 run "$root/run/sextant"
mount -o remount,ro "$root"
exec chroot --userspec=65532:65532 --groups= "$root" "$@"
"#;

/// What is mounted into one.
pub struct Container {
    home: PathBuf,
    mounts: Vec<(PathBuf, String)>,
    environment: Vec<(String, String)>,
    probe: Vec<String>,
}

/// What kubelet gets for a pod from the API.
pub struct Account {
    /// A token for the API.
    pub api: String,
    /// A token for cert-authority.
    pub enrol: String,
    /// Whom to trust as the API.
    pub authority: String,
    pub namespace: &'static str,
}

impl Container {
    /// Whether there can be any; `SKIP …` if not.
    pub fn possible() -> bool {
        let tried = Command::new("unshare").args(["--mount", "true"]).output();
        let possible = tried.is_ok_and(|tried| tried.status.success());
        if !possible {
            println!("SKIP mounting what a pod mounts takes root: `unshare --mount true` fails");
        }
        possible
    }

    /// The container of a pod whose account is `account`, its files in `home`, its environment with these changes.
    pub fn new(
        pod: &Pod,
        account: &Account,
        home: PathBuf,
        changes: Vec<(String, String)>,
    ) -> Result<Self> {
        let container = pod.containers().first().context("no container")?;
        let this = std::env::current_exe()?;
        let mut mounts = vec![(home.join("api"), ACCOUNT.to_owned())];
        for mount in items(&container["volumeMounts"]) {
            let name = text(&mount["name"]);
            match name.as_str() {
                // Memory of the container alone.
                "run" => continue,
                "enrol" | "state" => mounts.push((home.join(name), text(&mount["mountPath"]))),
                other => bail!("nobody mounts {other} here"),
            }
        }
        let probe = items(&container["startupProbe"]["exec"]["command"]);
        let probe: Vec<String> = probe.iter().map(text).collect();
        let program = probe.first().context("no startup probe")?;
        mounts.push((this, program.clone()));
        let upstream = format!("/usr/local/bin/{}", pod.part);
        if let Some(real) = upstream_program(&pod.part) {
            mounts.push((real, upstream));
        }
        let mut environment = pod.environment();
        environment.extend(changes);
        let made = Self {
            home,
            mounts,
            environment,
            probe,
        };
        made.fill(account)?;
        Ok(made)
    }

    /// The image's entry point with its one argument.
    pub fn main(&self) -> Command {
        self.command(&[&self.probe[0], "serve"])
    }

    /// What kubelet runs until it succeeds, and whose output it shows in the pod's events.
    pub fn startup_probe(&self) -> Command {
        let words: Vec<&str> = self.probe.iter().map(String::as_str).collect();
        self.command(&words)
    }

    /// Where the log of its main process is.
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/unshare");
        command.env_clear().envs(self.environment.iter().cloned());
        command.args(["--mount", "/bin/sh", "-euc", START, "sh"]);
        command.arg(self.home.join("root"));
        for (from, to) in &self.mounts {
            command.arg(from).arg(to);
        }
        command.arg("--").args(words);
        command
    }

    /// As kubelet owns them: volumes are root's and open to the pod's group, tokens are the user's.
    fn fill(&self, account: &Account) -> Result<()> {
        for folder in ["api", "enrol", "root", "state"] {
            std::fs::create_dir_all(self.home.join(folder))?;
        }
        owned(&self.home.join("state"), None, 0o2775)?;
        let enrol = ("enrol/token", &account.enrol, 0o440);
        let namespace = account.namespace.to_owned();
        let files = [
            ("api/token", &account.api, 0o600),
            ("api/ca.crt", &account.authority, 0o644),
            ("api/namespace", &namespace, 0o644),
            enrol,
        ];
        for (name, text, mode) in files {
            let file = self.home.join(name);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            owned(&file, Some(USER), mode)?;
        }
        Ok(())
    }
}

fn owned(path: &Path, user: Option<u32>, mode: u32) -> Result<()> {
    chown(path, user, Some(USER))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The upstream program of a runner's image, where it is named.
fn upstream_program(part: &str) -> Option<PathBuf> {
    let variable = match part {
        "kube-controller-manager" => "TEST_KUBE_CONTROLLER_MANAGER",
        _ => return None,
    };
    std::env::var_os(variable).map(PathBuf::from)
}
