//! Steps of a program, and how they are written down.

use bytes::Bytes;
use prost::Message;
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_proto::etcd::etcdserverpb::request_op::Request;
use std::fmt::Write;

macro_rules! steps {
    ($($kind:ident($request:ty) = $name:literal,)+) => {
        /// One request, or a few that belong together.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Step {
            $($kind($request),)+
        }

        impl Step {
            /// As a line of a kept program: what can be read back, then what people read.
            pub fn line(&self) -> String {
                match self {
                    $(Self::$kind(request) => {
                        format!("{} {} # {request:?}", $name, hex(&request.encode_to_vec()))
                    })+
                }
            }

            /// Reads what [`line`](Self::line) wrote.
            pub fn parse(line: &str) -> Self {
                let (kind, rest) = line.split_once(' ').expect("a kind");
                let (code, _) = rest.split_once(" #").unwrap_or((rest, ""));
                let code = unhex(code.trim());
                match kind {
                    $($name => Self::$kind(<$request>::decode(code.as_slice()).expect("a request")),)+
                    other => panic!("{other:?} is no kind of step"),
                }
            }
        }
    };
}

steps! {
    // Ends the followed watch of this number; they are numbered as they are opened.
    Cancel(pb::WatchCancelRequest) = "cancel",
    Compact(pb::CompactionRequest) = "compact",
    Delete(pb::DeleteRangeRequest) = "delete",
    // Opens a watch that is told of everything to come.
    Follow(pb::WatchCreateRequest) = "follow",
    Grant(pb::LeaseGrantRequest) = "grant",
    KeepAlive(pb::LeaseKeepAliveRequest) = "keep-alive",
    Leases(pb::LeaseLeasesRequest) = "leases",
    Put(pb::PutRequest) = "put",
    Range(pb::RangeRequest) = "range",
    Revoke(pb::LeaseRevokeRequest) = "revoke",
    Stream(pb::RangeRequest) = "range-stream",
    TimeToLive(pb::LeaseTimeToLiveRequest) = "time-to-live",
    Txn(pb::TxnRequest) = "txn",
    // A watch of the past, read until it has caught up or is canceled.
    Watch(pb::WatchCreateRequest) = "watch",
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("room");
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.strip_prefix("0x").expect("0x");
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

impl Step {
    /// The same step with one thing less in it, in every way there is.
    pub fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Delete(request) => simpler_delete(request)
                .into_iter()
                .map(Self::Delete)
                .collect(),
            Self::Follow(request) => simpler_watch(request)
                .into_iter()
                .map(Self::Follow)
                .collect(),
            Self::Put(request) => simpler_put(request).into_iter().map(Self::Put).collect(),
            Self::Range(request) => simpler_range(request)
                .into_iter()
                .map(Self::Range)
                .collect(),
            Self::Stream(request) => simpler_range(request)
                .into_iter()
                .map(Self::Stream)
                .collect(),
            Self::Txn(request) => simpler_txn(request).into_iter().map(Self::Txn).collect(),
            Self::Watch(request) => simpler_watch(request)
                .into_iter()
                .map(Self::Watch)
                .collect(),
            Self::Cancel(_)
            | Self::Compact(_)
            | Self::Grant(_)
            | Self::KeepAlive(_)
            | Self::Leases(_)
            | Self::Revoke(_)
            | Self::TimeToLive(_) => Vec::new(),
        }
    }
}

/// Every variant of `request` in which one of `fields` has its default, as far as that changes anything.
fn reset<T: Clone + PartialEq>(request: &T, fields: &[fn(&mut T)]) -> Vec<T> {
    let mut variants = Vec::new();
    for field in fields {
        let mut variant = request.clone();
        field(&mut variant);
        if variant != *request {
            variants.push(variant);
        }
    }
    variants
}

fn simpler_delete(request: &pb::DeleteRangeRequest) -> Vec<pb::DeleteRangeRequest> {
    reset(
        request,
        &[|r| r.range_end = Bytes::new(), |r| r.prev_kv = false],
    )
}

fn simpler_put(request: &pb::PutRequest) -> Vec<pb::PutRequest> {
    reset(
        request,
        &[
            |r| r.value = Bytes::new(),
            |r| r.lease = 0,
            |r| r.prev_kv = false,
            |r| r.ignore_value = false,
            |r| r.ignore_lease = false,
        ],
    )
}

fn simpler_range(request: &pb::RangeRequest) -> Vec<pb::RangeRequest> {
    reset(
        request,
        &[
            |r| r.range_end = Bytes::new(),
            |r| r.limit = 0,
            |r| r.revision = 0,
            |r| r.sort_order = 0,
            |r| r.sort_target = 0,
            |r| r.serializable = false,
            |r| r.keys_only = false,
            |r| r.count_only = false,
            |r| r.min_mod_revision = 0,
            |r| r.max_mod_revision = 0,
            |r| r.min_create_revision = 0,
            |r| r.max_create_revision = 0,
        ],
    )
}

fn simpler_watch(request: &pb::WatchCreateRequest) -> Vec<pb::WatchCreateRequest> {
    reset(
        request,
        &[
            |r| r.range_end = Bytes::new(),
            |r| r.start_revision = 0,
            |r| r.filters.clear(),
            |r| r.prev_kv = false,
            |r| r.watch_id = 0,
            |r| r.fragment = false,
            |r| r.progress_notify = false,
        ],
    )
}

fn simpler_txn(request: &pb::TxnRequest) -> Vec<pb::TxnRequest> {
    let mut variants = Vec::new();
    for at in 0..request.compare.len() {
        let mut variant = request.clone();
        variant.compare.remove(at);
        variants.push(variant);
    }
    let lists: [fn(&mut pb::TxnRequest) -> &mut Vec<pb::RequestOp>; 2] =
        [|txn| &mut txn.success, |txn| &mut txn.failure];
    for list in lists {
        let ops = list(&mut request.clone()).clone();
        for (at, op) in ops.iter().enumerate() {
            let mut variant = request.clone();
            list(&mut variant).remove(at);
            variants.push(variant);
            for op in simpler_op(op) {
                let mut variant = request.clone();
                list(&mut variant)[at] = op;
                variants.push(variant);
            }
        }
    }
    variants
}

fn simpler_op(op: &pb::RequestOp) -> Vec<pb::RequestOp> {
    let variants: Vec<Request> = match &op.request {
        Some(Request::RequestDeleteRange(request)) => simpler_delete(request)
            .into_iter()
            .map(Request::RequestDeleteRange)
            .collect(),
        Some(Request::RequestPut(request)) => simpler_put(request)
            .into_iter()
            .map(Request::RequestPut)
            .collect(),
        Some(Request::RequestRange(request)) => simpler_range(request)
            .into_iter()
            .map(Request::RequestRange)
            .collect(),
        Some(Request::RequestTxn(request)) => simpler_txn(request)
            .into_iter()
            .map(Request::RequestTxn)
            .collect(),
        None => Vec::new(),
    };
    let op = |request| pb::RequestOp {
        request: Some(request),
    };
    variants.into_iter().map(op).collect()
}

#[test]
fn a_step_is_read_back() {
    let step = Step::Put(pb::PutRequest {
        key: "a # b".into(),
        value: Bytes::from_static(b"\0\xff"),
        lease: -1,
        ..pb::PutRequest::default()
    });
    assert_eq!(Step::parse(&step.line()), step);
    let step = Step::Leases(pb::LeaseLeasesRequest {});
    assert_eq!(Step::parse(&step.line()), step);
}
