//! What a disk does to the datastore.

use crate::keys::etcd;
use crate::outage::still_there;
use crate::part::Part;
use crate::plane::{Plane, SOON};
use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sextant_testkit::eventually;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// All files of the datastore's folder.
fn files(plane: &Plane) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let folder = plane.path("datastore");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        Ok((path, bytes))
    };
    fs::read_dir(folder)?.map(read).collect()
}

/// Moves everything from SQLite's log to the file.
fn checkpoint(database: &Path) -> Result<()> {
    let connection = rusqlite::Connection::open(database)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    Ok(connection.query_row(checkpoint, [], |_| Ok(()))?)
}

/// The folder as it was: a log left by a failed start could cover the next damage.
fn put_back(plane: &Plane, good: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for path in files(plane)?.keys() {
        fs::remove_file(path)?;
    }
    for (path, bytes) in good {
        fs::write(path, bytes)?;
    }
    Ok(())
}

pub async fn a_corrupt_file_is_left_alone() -> Result<()> {
    let mut plane = Plane::ready().await?;
    let token = plane.token().await?;
    plane.stop(Part::DatastoreProxy).await?;
    // As long as the log has a page, damage of the file doesn't matter.
    checkpoint(&plane.database())?;
    let good = files(&plane)?;
    let database = plane.database();
    let bytes = good.get(&database).context("there is no database")?;
    let overwritten = |from: usize, to: usize| {
        let mut bytes = bytes.clone();
        bytes[from..to].fill(0x5a);
        bytes
    };
    let damages = [
        ("its header", overwritten(0, 100)),
        ("its first page", overwritten(100, 4096)),
        ("a text file", b"this is no database\n".repeat(500)),
        ("half of it", bytes[..bytes.len() / 2].to_vec()),
    ];
    for (what, damaged) in damages {
        put_back(&plane, &good)?;
        fs::write(&database, &damaged)?;
        plane.start(Part::DatastoreProxy)?;
        let (status, output) = plane.ended(Part::DatastoreProxy).await?;
        ensure!(!status.success(), "{what}: it ended with {status}");
        let shown = database.display().to_string();
        for word in [shown.as_str(), "nothing was changed", "backup"] {
            ensure!(output.contains(word), "{what}: {word:?} isn't in {output}");
        }
        ensure!(
            fs::read(&database)? == damaged,
            "{what}: the file was changed"
        );
    }
    plane.is_degraded(Part::Supervisor, &["datastore"]).await?;
    put_back(&plane, &good)?;
    plane.start(Part::DatastoreProxy)?;
    plane.all_ready().await?;
    still_there(&mut plane.admin().await?, &token.id).await
}

/// A small file system; gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> nix::Result<Self> {
        let kind = Some("tmpfs");
        mount(kind, at, kind, MsFlags::empty(), Some("size=3m"))?;
        Ok(Self(at.to_owned()))
    }

    /// Takes all space that is left.
    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filler"))?;
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("unmounting {}: {error}", self.0.display());
        }
    }
}

pub async fn a_full_disk_stops_writes_only() -> Result<()> {
    let mut plane = Plane::new()?;
    let small = match Small::mount(&plane.path("datastore")) {
        Ok(small) => small,
        Err(error) => {
            println!("SKIP mounting a small file system: {error}");
            return Ok(());
        }
    };
    plane.start_all()?;
    plane.all_ready().await?;
    let mut client = etcd(&plane, "kube-apiserver").await?;
    let key = |number: u32| format!("/registry/configmaps/{number:04}");
    client.put(key(0), "first", None).await?;
    small.fill()?;

    let mut acknowledged = 1;
    let value = vec![b'x'; 32 << 10];
    let refused = loop {
        match client.put(key(acknowledged), value.clone(), None).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        ensure!(acknowledged < 1000, "a full disk takes everything");
    };
    let text = refused.to_string();
    ensure!(text.contains("database space exceeded"), "{text}");
    ensure!(all_there(&mut client, acknowledged).await?, "reads stopped");
    let output = plane.output(Part::DatastoreProxy);
    ensure!(
        output.contains("no space left"),
        "the log says nothing: {output}"
    );
    let token = plane.token().await.err().context("a token was made")?;
    ensure!(format!("{token:#}").contains("space"), "{token:#}");

    small.free()?;
    eventually(SOON, "writes go on", || {
        let mut client = client.clone();
        async move { client.put(key(acknowledged), "last", None).await }
    })
    .await;
    plane.all_ready().await?;
    plane.token().await?;
    plane.kill(Part::DatastoreProxy).await?;
    plane.start(Part::DatastoreProxy)?;
    plane.all_ready().await?;
    let kept = all_there(&mut client, acknowledged + 1).await?;
    ensure!(kept, "an acknowledged write is gone");
    plane.stop_all().await
}

/// Whether the keys from 0 on are there, as many as were acknowledged and no more.
async fn all_there(client: &mut etcd_client::Client, acknowledged: u32) -> Result<bool> {
    let options = etcd_client::GetOptions::new()
        .with_prefix()
        .with_count_only();
    let found = client.get("/registry/configmaps/", Some(options)).await?;
    Ok(found.count() == i64::from(acknowledged))
}
