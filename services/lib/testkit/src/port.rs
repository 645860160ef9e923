//! Ports for processes that can't be given port 0, because they are told to others or used again after a restart.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what Linux takes for outgoing connections and above what services have: nobody takes one of these by chance
/// between its being found free and its being bound.
const FIRST: u16 = 10_000;
const COUNT: u16 = 8000;

/// A TCP port of 127.0.0.1 that nobody listens on, another one at each call.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Other processes begin elsewhere.
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random()));
    for _ in 0..COUNT {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {FIRST} on is taken");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_and_never_while_taken() {
        let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
        let given: std::collections::BTreeSet<u16> = (0..100).map(|_| free_port()).collect();
        assert_eq!(given.len(), 100);
        assert!(!given.contains(&taken.local_addr().unwrap().port()));
        assert!(
            given
                .iter()
                .all(|port| (FIRST..FIRST + COUNT).contains(port))
        );
    }
}
