//! A range in pieces, each of about the largest request, all of one revision.

use super::{MAX_REQUEST, convert};
use crate::domain::fault::Fault;
use crate::domain::request::{Query, RangeAnswer};
use bytes::Bytes;
use prost::Message;
use sextant_proto::etcd::etcdserverpb as pb;
use std::future::Future;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The first piece is small, so that it comes soon.
const FIRST: i64 = 10;
/// Pieces on their way to one client.
const UNDER_WAY: usize = 2;

/// What ranges are read from.
pub(crate) trait Ranges: Send + Sync + 'static {
    /// Reads a range; without `count` how many keys there are may stay open.
    fn range(
        &self,
        query: &Query,
        count: bool,
    ) -> impl Future<Output = Result<RangeAnswer, Status>> + Send;

    /// The header of an answer at `revision`.
    fn header(&self, revision: i64) -> pb::ResponseHeader;
}

/// Refuses what etcd doesn't stream.
pub(crate) fn check(query: &Query) -> Result<(), Fault> {
    if !query.is_default_order() {
        return Err(Fault::Unsupported(
            "RangeStream does not support custom sort orders",
        ));
    }
    if query.is_filtered() {
        return Err(Fault::Unsupported(
            "RangeStream does not support revision filters",
        ));
    }
    Ok(())
}

/// Reads `query` piece by piece, as fast as its client takes them.
pub(crate) fn stream(
    ranges: impl Ranges,
    query: Query,
) -> ReceiverStream<Result<pb::RangeStreamResponse, Status>> {
    let (pieces, stream) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        if let Err(status) = send(&ranges, query, &pieces).await {
            // A client that has gone needs no answer.
            let _ = pieces.send(Err(status)).await;
        }
    });
    ReceiverStream::new(stream)
}

type Pieces = mpsc::Sender<Result<pb::RangeStreamResponse, Status>>;

async fn send(ranges: &impl Ranges, mut query: Query, pieces: &Pieces) -> Result<(), Status> {
    let limit = if query.limit > 0 {
        query.limit
    } else {
        i64::MAX
    };
    let mut sent = 0;
    let mut pinned = None;
    query.limit = FIRST.min(limit);
    loop {
        let mut answer = ranges.range(&query, query.count_only).await?;
        let revision = *pinned.get_or_insert(answer.revision);
        if query.revision <= 0 {
            query.revision = revision;
        }
        sent += i64::try_from(answer.kvs.len()).unwrap_or(i64::MAX);
        let next = answer
            .kvs
            .last()
            .filter(|_| answer.more)
            .map(|kv| successor(&kv.key));
        let is_last = !answer.more || sent >= limit;
        if is_last {
            answer.count = match next.clone() {
                _ if query.count_only => answer.count,
                None => sent,
                Some(next) => sent + count(ranges, &query, next).await?,
            };
            answer.revision = revision;
            let last = convert::range_response(answer, &|revision| ranges.header(revision));
            // A client that has gone needs no answer.
            let _ = pieces.send(Ok(piece(last))).await;
            return Ok(());
        }
        let part = pb::RangeResponse {
            kvs: answer.kvs,
            ..pb::RangeResponse::default()
        };
        let size = part.encoded_len();
        if pieces.send(Ok(piece(part))).await.is_err() {
            return Ok(());
        }
        if let Some(next) = next {
            query.range = query.range.from_key(next);
        }
        query.limit = next_limit(query.limit, size).min(limit - sent);
    }
}

fn piece(part: pb::RangeResponse) -> pb::RangeStreamResponse {
    pb::RangeStreamResponse {
        range_response: Some(part),
    }
}

/// Grows or shrinks pieces towards [`MAX_REQUEST`] bytes.
fn next_limit(limit: i64, size: usize) -> i64 {
    match size {
        size if size < MAX_REQUEST / 2 => limit.saturating_mul(2),
        size if size > MAX_REQUEST * 2 => (limit / 2).max(1),
        _ => limit,
    }
}

async fn count(ranges: &impl Ranges, query: &Query, from: Bytes) -> Result<i64, Status> {
    let range = query.range.from_key(from);
    let query = Query {
        range,
        limit: 0,
        count_only: true,
        ..query.clone()
    };
    Ok(ranges.range(&query, true).await?.count)
}

/// The first key after `key`.
fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
