//! Images that come with the node: imported once, pinned against garbage collection.

use super::files::hex;
use crate::config::Config;
use crate::error::Error;
use crate::store::write_public;
use aws_lc_rs::digest::{Context, SHA256};
use sextant_kit::Task;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::Mutex;

/// Longest import of one archive.
const DEADLINE: Duration = Duration::from_secs(300);

/// Imports image archives into containerd.
pub struct Images {
    ctr: PathBuf,
    socket: PathBuf,
    folders: Vec<PathBuf>,
    late_folders: Vec<PathBuf>,
    markers: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl Images {
    /// For the containerd of `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            ctr: config.bin_dir.join("ctr"),
            socket: config.containerd_socket(),
            folders: config.image_dirs.clone(),
            late_folders: config.late_image_dirs.clone(),
            // Beside the images: both are lost together.
            markers: config.containerd_root.join("sextant-imported"),
            one_at_a_time: Mutex::new(()),
        }
    }

    /// Imports every archive that a start needs and that isn't in yet; tells `task` how far it is.
    pub async fn import_all(&self, task: &Task) -> Result<(), Error> {
        self.import_new(&self.folders, |state| task.waiting(state))
            .await
    }

    /// Imports every other archive that isn't in yet.
    pub async fn import_late(&self) -> Result<(), Error> {
        self.import_new(&self.late_folders, |_| ()).await
    }

    async fn import_new(&self, folders: &[PathBuf], tell: impl Fn(String)) -> Result<(), Error> {
        let archives = archives(folders)?;
        let count = archives.len();
        for (number, path) in archives.iter().enumerate() {
            tell(format!(
                "importing image {} of {count}: {}",
                number + 1,
                path.display()
            ));
            let marker = self.marker(path).await?;
            if marker.exists() {
                continue;
            }
            let started = Instant::now();
            self.load(path).await.map_err(failed(path))?;
            write_public(&marker, path.to_string_lossy().as_bytes())?;
            tracing::info!(archive = %path.display(), of = count, elapsed = ?started.elapsed(), "image imported");
        }
        Ok(())
    }

    /// Imports one archive, whether or not it is in already; returns the images' names.
    pub async fn import(&self, path: &Path) -> Result<Vec<String>, Error> {
        if !path.is_file() {
            return Err(failed(path)("there is no such file on this node".into()));
        }
        let _turn = self.one_at_a_time.lock().await;
        let before = self.names().await.map_err(failed(path))?;
        let output = self.load(path).await.map_err(failed(path))?;
        let after = self.names().await.map_err(failed(path))?;
        let named = |name: &&String| output.contains(name.as_str()) || !before.contains(name);
        Ok(after.iter().filter(named).cloned().collect())
    }

    async fn load(&self, path: &Path) -> Result<String, String> {
        let path = path.to_string_lossy();
        let pinned = "io.cri-containerd.pinned=pinned";
        self.ctr(&["images", "import", "--label", pinned, &path])
            .await
    }

    async fn names(&self) -> Result<Vec<String>, String> {
        let list = self.ctr(&["images", "ls", "-q"]).await?;
        Ok(list
            .lines()
            .filter(|name| !name.contains("sha256:"))
            .map(str::to_owned)
            .collect())
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let run = Command::new(&self.ctr)
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(DEADLINE, run)
            .await
            .map_err(|_| format!("ctr: not done within {} s", DEADLINE.as_secs()))?
            .map_err(|e| format!("starting {}: {e}", self.ctr.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "ctr: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }

    async fn marker(&self, path: &Path) -> Result<PathBuf, Error> {
        let archive = path.to_owned();
        let hash = tokio::task::spawn_blocking(move || hash_file(&archive)).await;
        let hash = hash.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        Ok(self
            .markers
            .join(hash.map_err(|e| Error::file("reading", path, e))?))
    }
}

fn archives(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut archives = Vec::new();
    for folder in folders {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::file("reading", folder, source)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::file("reading", folder, e))?.path();
            if path.extension().is_some_and(|extension| extension == "tar") {
                archives.push(path);
            }
        }
    }
    archives.sort();
    Ok(archives)
}

fn failed(path: &Path) -> impl FnOnce(String) -> Error {
    move |reason| Error::Image {
        path: path.to_owned(),
        reason,
    }
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_waits_for_no_late_image() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        std::fs::create_dir(&late).unwrap();
        for name in [
            "pause.tar",
            "coredns.tar",
            "coredns.partial",
            "late/addon.tar",
        ] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let found = |of: &[&Path]| {
            let folders: Vec<PathBuf> = of.iter().map(|path| path.to_path_buf()).collect();
            archives(&folders).unwrap()
        };
        let first = ["coredns.tar", "pause.tar"].map(|name| folder.path().join(name));
        assert_eq!(found(&[folder.path()]), first);
        assert_eq!(found(&[&late]), [late.join("addon.tar")]);
        assert!(found(&[&folder.path().join("none")]).is_empty());
    }
}
