//! A disk, from the record of what was done to it.

use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::path::Path;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// Something that was done to a file; `shim.c` writes them.
pub struct Record<'t> {
    path: &'t str,
    act: Act<'t>,
    /// Where the record ends in the trace.
    pub end: usize,
}

enum Act<'t> {
    Sync,
    Truncate(usize),
    Unlink,
    Write(usize, &'t [u8]),
}

impl Record<'_> {
    pub fn is_sync(&self) -> bool {
        matches!(self.act, Act::Sync)
    }
}

pub fn parse(trace: &[u8]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    let mut at = 0;
    // A process that is killed may have written half a record.
    while let Some((record, end)) = next(trace, at) {
        records.push(record);
        at = end;
    }
    records
}

fn next(trace: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let head = trace.get(at..at + 14)?;
    let number = |bytes: &[u8]| {
        let digits = bytes.iter().rev();
        digits.fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let (offset, length) = (number(&head[2..10]), number(&head[10..14]));
    let path = at + 14..at + 14 + usize::from(head[1]);
    let data = path.end..path.end + length;
    let end = data.end;
    let act = match head[0] {
        b's' => Act::Sync,
        b't' => Act::Truncate(offset),
        b'u' => Act::Unlink,
        b'w' => Act::Write(offset, trace.get(data)?),
        other => panic!("no record begins with {other}"),
    };
    let path = std::str::from_utf8(trace.get(path)?).unwrap();
    Some((Record { path, act, end }, end))
}

#[derive(Default)]
pub struct Disk {
    files: BTreeMap<String, File>,
}

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    /// What was done since, in order.
    pending: Vec<Change>,
    /// Whether the folder was synced since the file was made.
    is_listed: bool,
    is_unlinked: bool,
}

enum Change {
    Truncate(usize),
    Write(usize, Vec<u8>),
}

impl Disk {
    pub fn apply(&mut self, record: &Record<'_>) {
        // Locks and shared memory are made anew at each start.
        if record.path.ends_with(".lock") || record.path.ends_with("-shm") {
            return;
        }
        if record.path.is_empty() {
            self.sync_folder();
            return;
        }
        let file = self.files.entry(record.path.to_owned()).or_default();
        match record.act {
            Act::Sync => {
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.synced);
                }
            }
            Act::Truncate(length) => file.pending.push(Change::Truncate(length)),
            Act::Unlink => file.is_unlinked = true,
            Act::Write(offset, data) => file.pending.push(Change::Write(offset, data.to_vec())),
        }
    }

    fn sync_folder(&mut self) {
        self.files.retain(|_, file| !file.is_unlinked);
        self.files
            .values_mut()
            .for_each(|file| file.is_listed = true);
    }

    /// What is left if the power fails now.
    pub fn cut(&self, rng: &mut StdRng) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        // Of what isn't synced: nothing, all, or some.
        let kept = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        for (path, file) in &self.files {
            let is_lost = !file.is_listed || file.is_unlinked;
            if is_lost && rng.random() {
                continue;
            }
            let mut content = file.synced.clone();
            for change in &file.pending {
                change.apply_in_part(&mut content, kept, rng);
            }
            let path = Path::new(path.trim_start_matches('/'));
            std::fs::write(folder.path().join(path), content).unwrap();
        }
        folder
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => content.resize(*length, 0),
            Self::Write(offset, data) => write(content, *offset, data),
        }
    }

    fn apply_in_part(&self, content: &mut Vec<u8>, kept: f64, rng: &mut StdRng) {
        match self {
            Self::Truncate(_) if rng.random_bool(kept) => self.apply(content),
            Self::Truncate(_) => {}
            Self::Write(offset, data) => {
                let mut at = 0;
                while at < data.len() {
                    // Sectors lie where the disk has them, not where the write begins.
                    let end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                    let end = end.min(data.len());
                    if rng.random_bool(kept) {
                        write(content, offset + at, &data[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}
