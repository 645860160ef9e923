//! Reading rows back.

use super::row::{Row, check};
use crate::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::path::{Path, PathBuf};

/// Rows from the file, oldest first.
pub(super) struct Rows {
    reader: BufReader<Take<File>>,
    path: PathBuf,
    line: u64,
    buffer: Vec<u8>,
}

impl Rows {
    /// The rows in the first `length` bytes, which were checked or written by this process.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::File {
            action: "opening",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            reader: BufReader::new(file.take(length)),
            path: path.to_owned(),
            line: 0,
            buffer: Vec::new(),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.buffer.clear();
        self.line += 1;
        match self.reader.read_until(b'\n', &mut self.buffer) {
            Ok(0) => None,
            Ok(_) => {
                let row =
                    check(&self.buffer).and_then(|(json, _)| serde_json::from_slice(json).ok());
                Some(row.ok_or_else(|| Error::LogCorrupt {
                    path: self.path.clone(),
                    line: self.line,
                    reason: "the line was changed since the log was opened",
                }))
            }
            Err(source) => Some(Err(Error::File {
                action: "reading",
                path: self.path.clone(),
                source,
            })),
        }
    }
}
