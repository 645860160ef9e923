//! How long the disk takes: an acknowledged write can't be quicker.

use crate::figures::{Better, Figures, Times};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_millis(500);
/// About what the log grows by with one write of 1 KiB.
const BLOCK: [u8; 4096] = [7; 4096];

/// Appends and syncs for a while.
pub fn measure(folder: &Path, figures: &mut Figures) -> Result<()> {
    let path = folder.join("fsync");
    let mut file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < LENGTH {
        let started = Instant::now();
        file.write_all(&BLOCK)
            .and_then(|()| file.sync_data())
            .context("syncing")?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::remove_file(&path).context("removing the file that was synced")?;
    let times = Times::of(times);
    for (name, part) in [("fdatasync: p50", 0.5), ("fdatasync: p99", 0.99)] {
        figures.add(name, "ms", Better::Lower, None, times.part(part));
    }
    Ok(())
}
