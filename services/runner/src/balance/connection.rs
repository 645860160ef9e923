//! One connection from end to end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::copy_bidirectional_with_sizes,
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{CLIENT_GONE, Limits, Shared, UPSTREAM_GONE, tune};

/// Bytes held per direction.
const BUFFER: usize = 16 * 1024;

/// Finds an address that accepts the connection and copies both ways; the end of one direction is passed on while
/// the other goes on.
pub(super) async fn carry(mut client: TcpStream, shared: &Shared, limits: &Limits) {
    let Ok(found) = timeout(limits.search, search(shared, limits)).await else {
        shared.metrics.unserved.inc();
        tracing::warn!(search = ?limits.search, "no upstream accepted a connection");
        return;
    };
    let (mut upstream, counted) = found;
    if let Err(error) = tune(&client, CLIENT_GONE) {
        tracing::debug!(%error, "socket options of the client's connection");
    }
    let copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await;
    if let Err(error) = copied {
        tracing::debug!(upstream = %counted.address, %error, "a connection broke");
    }
}

/// A place in the pool's count of connections.
struct Counted<'a> {
    address: SocketAddr,
    shared: &'a Shared,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.shared.pool().ended(self.address);
        self.shared.metrics.open.dec();
    }
}

/// Tries all addresses, and again from the beginning after a pause; its caller sets the deadline.
async fn search<'a>(shared: &'a Shared, limits: &Limits) -> (TcpStream, Counted<'a>) {
    let mut tried = Vec::new();
    loop {
        let picked = shared.pool().pick(&tried, Instant::now());
        let Some(address) = picked else {
            tried.clear();
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        shared.metrics.open.inc();
        let counted = Counted { address, shared };
        let error = match timeout(limits.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match tune(&stream, UPSTREAM_GONE) {
                Ok(()) => {
                    shared.pool().accepted(address);
                    shared.metrics.connections.inc();
                    return (stream, counted);
                }
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", limits.connect),
        };
        tracing::debug!(upstream = %address, error, "not accepted");
        shared.metrics.failures.inc();
        shared
            .pool()
            .refused(address, Instant::now(), rand::random());
        shared.stale.notify_one();
        tried.push(address);
    }
}
