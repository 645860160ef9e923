//! What a store holds while nobody changes it.

use crate::domain::lease::Lease;
use crate::domain::range::KeyRange;
use crate::store::sqlite::contents;
use crate::store::{Logged, Reader, StoreError};
use crate::tools::progress::Progress;
use aws_lc_rs::digest::{Context, SHA256};
use std::sync::Arc;

/// What is read at once.
const PAGE_BYTES: usize = 1 << 20;

pub(super) struct Held {
    pub(super) revision: i64,
    /// Revisions below this one are forgotten.
    pub(super) compacted: i64,
    /// In the order of their numbers.
    pub(super) leases: Vec<Lease>,
    reader: Arc<dyn Reader>,
}

impl Held {
    pub(super) fn new(
        (revision, compacted): (i64, i64),
        mut leases: Vec<Lease>,
        reader: Arc<dyn Reader>,
    ) -> Self {
        leases.sort_by_key(|lease| lease.id);
        Self {
            revision,
            compacted,
            leases,
            reader,
        }
    }

    /// Visits all rows in order, and says how far it is.
    pub(super) fn each(
        &self,
        what: &'static str,
        visit: &mut dyn FnMut(Logged) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut progress = Progress::new(what, self.revision.unsigned_abs());
        let mut from = 0;
        while from <= self.revision {
            let all = KeyRange::all();
            let page = self.reader.page(&all, from, self.revision, PAGE_BYTES)?;
            for logged in page.writes {
                visit(logged)?;
            }
            let next = page.through + 1;
            progress.add((next - from).unsigned_abs());
            from = next;
        }
        Ok(())
    }

    /// A digest of everything but the names of the store and its member.
    pub(super) fn digest(&self) -> Result<String, StoreError> {
        let mut digest = Context::new(&SHA256);
        let numbers = |digest: &mut Context, numbers: &[i64]| {
            for number in numbers {
                digest.update(&number.to_be_bytes());
            }
        };
        numbers(&mut digest, &[self.revision, self.compacted]);
        for lease in &self.leases {
            let owner = i64::try_from(lease.owner.len()).unwrap_or(i64::MAX);
            numbers(&mut digest, &[lease.id, lease.ttl, lease.deadline, owner]);
            digest.update(lease.owner.as_bytes());
        }
        self.each("revisions compared", &mut |logged| {
            let version = &logged.version;
            let length = |bytes: &[u8]| i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            let fields = [
                version.row,
                version.mod_revision,
                version.create_revision,
                version.version,
                version.lease,
                length(&logged.key),
                length(&logged.value),
            ];
            numbers(&mut digest, &fields);
            digest.update(&logged.key);
            digest.update(&logged.value);
            Ok(())
        })?;
        Ok(contents::hexadecimal(digest))
    }
}
