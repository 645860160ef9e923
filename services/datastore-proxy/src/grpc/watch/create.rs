//! New watches: what a client asks for, cut at what it may see.

use super::{Open, Stream};
use crate::domain::fault::Fault;
use crate::domain::range::KeyRange;
use crate::watch::hub::Spec;
use crate::watch::source::Source;
use bytes::Bytes;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use tonic::Status;

impl<S: Source> Stream<S> {
    pub(super) async fn create(&mut self, request: pb::WatchCreateRequest) -> Result<(), Status> {
        let newest = self.source.newest().await?;
        let spec = match self.spec(&request) {
            Ok(spec) => spec,
            Err(reason) => return self.answers.refused(newest, reason).await,
        };
        let id = spec.id;
        let hub = self.source.hub();
        let key = hub.add_after(&self.outbox, spec, request.start_revision, newest);
        let progress_notify = request.progress_notify;
        self.watches.insert(
            id,
            Open {
                key,
                progress_notify,
                active: false,
                past: None,
            },
        );
        self.source.measure();
        Ok(())
    }

    /// What a client asks for, or why it doesn't get it.
    fn spec(&mut self, request: &pb::WatchCreateRequest) -> Result<Spec, String> {
        if request.start_revision < 0 {
            return Err(Fault::Compacted.to_string());
        }
        // Copied, so that a watch doesn't keep a whole buffer alive. Without a key: from the smallest one on.
        let key = match request.key.as_ref() {
            [] => Bytes::from_static(&[0]),
            key => Bytes::copy_from_slice(key),
        };
        let range = KeyRange::parse(key, Bytes::copy_from_slice(&request.range_end));
        if range.is_empty() {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        let range = self
            .caller
            .clip(&range)
            .map_err(|fault| fault.to_string())?;
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.watches.contains_key(&id) => {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
            }
            id => id,
        };
        let has = |filter: FilterType| request.filters.contains(&filter.into());
        Ok(Spec {
            id,
            range,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        })
    }
}
