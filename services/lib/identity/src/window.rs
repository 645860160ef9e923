//! How much may be under way and unread on HTTP/2 connections.
//!
//! A stream whose reader has stalled keeps what it was sent out of its connection's window. That one is therefore as
//! large as all streams together: however many stall, the others go on. What counts is the stream's window, which
//! bounds what one stalled reader makes us hold.

/// Of one stream: 25 MB/s over a path of 10 ms.
pub(crate) const STREAM: u32 = 256 << 10;

/// Of one stream of a caller without a certificate; more than its longest request.
pub(crate) const ANONYMOUS_STREAM: u32 = 64 << 10;

/// Streams that one connection may carry, unless its listener says otherwise.
pub(crate) const STREAMS: u32 = 4096;

/// Of a connection with so many streams.
pub(crate) const fn connection(streams: u32, stream: u32) -> u32 {
    /// HTTP/2's largest window.
    const MOST: u32 = (1 << 31) - 1;
    let sum = streams.saturating_mul(stream);
    if sum < MOST { sum } else { MOST }
}
