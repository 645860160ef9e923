//! What a log holds when it is opened: whole rows, and perhaps a tail that a crash tore.

use super::row::{GENESIS, Link, MAX_LINE, check};
use crate::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Where the next row goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Length of the file's whole rows.
    pub(super) length: u64,
    /// Sequence number of the last row; 0 when there is none.
    pub(super) sequence: u64,
    /// Hash of the last row.
    pub(super) hash: String,
}

const OUT_OF_ORDER: &str = "a row is missing or out of order";

impl Tail {
    fn is_followed_by(&self, link: &Link) -> bool {
        link.previous == self.hash
            && link.sequence == self.sequence + 1
            && link.durable <= self.sequence
    }
}

/// Checks every row. A torn tail is cut off with a warning; damage before acknowledged rows is an error.
///
/// Rows of one write can be torn by a crash before they were synced; then nobody was told of them. A later row
/// that calls the damaged one durable proves that it was.
pub(super) fn recover(file: &File, path: &Path) -> Result<Tail, Error> {
    let failed = |action| {
        move |source| Error::File {
            action,
            path: path.to_owned(),
            source,
        }
    };
    let mut lines = Lines {
        reader: BufReader::with_capacity(MAX_LINE, file),
        line: Vec::new(),
    };
    let mut tail = Tail {
        length: 0,
        sequence: 0,
        hash: GENESIS.to_owned(),
    };
    let mut damage = None;
    while let Some(line) = lines.next().map_err(failed("reading"))? {
        let reason = match link(line) {
            Ok((link, hash)) if damage.is_none() && tail.is_followed_by(&link) => {
                tail.hash = hash.to_owned();
                tail.sequence = link.sequence;
                tail.length += line.len() as u64;
                continue;
            }
            Ok((link, _)) if link.durable > tail.sequence => {
                return Err(Error::LogCorrupt {
                    path: path.to_owned(),
                    line: tail.sequence + 1,
                    reason: damage.unwrap_or(OUT_OF_ORDER),
                });
            }
            Ok(_) => OUT_OF_ORDER,
            Err(reason) => reason,
        };
        damage.get_or_insert(reason);
    }
    let length = file.metadata().map_err(failed("looking at"))?.len();
    if length > tail.length {
        tracing::warn!(
            log = %path.display(),
            bytes = length - tail.length,
            last_row = tail.sequence,
            "the issuance log ended in a row that a crash tore before it was acknowledged: cut off"
        );
        file.set_len(tail.length).map_err(failed("cutting"))?;
        file.sync_all().map_err(failed("syncing"))?;
    }
    Ok(tail)
}

fn link(line: &[u8]) -> Result<(Link, &str), &'static str> {
    if !line.ends_with(b"\n") {
        return Err("the line doesn't end");
    }
    let (json, hash) = check(line).ok_or("the line's hash is wrong")?;
    let link = serde_json::from_slice(json).map_err(|_| "the line is not a row")?;
    Ok((link, hash))
}

/// Lines of bounded length; a longer one comes in pieces, none of which is a row.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut bounded = (&mut self.reader).take(MAX_LINE as u64);
        let read = bounded.read_until(b'\n', &mut self.line)?;
        Ok((read > 0).then_some(self.line.as_slice()))
    }
}
