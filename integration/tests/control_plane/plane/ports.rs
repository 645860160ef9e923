//! Ports that no other test program takes.

use anyhow::{Context as _, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports are taken below the range from which the system gives them of its own accord, in blocks: whoever listens on
/// the first port of a block has the others.
const FIRST_PORT: u16 = 18_000;
const LAST_PORT: u16 = 32_000;
const BLOCK: u16 = 1000;
/// Our block, kept until the program ends.
static OURS: OnceLock<TcpListener> = OnceLock::new();
static NEXT_PORT: AtomicU16 = AtomicU16::new(1);

/// The ports of one part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub admin: u16,
    pub main: u16,
    /// The supervisor's public one; of others what they need beside.
    pub public: u16,
}

impl Ports {
    /// Three that nobody has.
    pub fn free() -> Result<Self> {
        Ok(Self {
            admin: free_port()?,
            main: free_port()?,
            public: free_port()?,
        })
    }
}

/// A port of our block that nobody listens on.
fn free_port() -> Result<u16> {
    let taken = || {
        (FIRST_PORT..LAST_PORT)
            .step_by(BLOCK.into())
            .find_map(|first| TcpListener::bind(loopback(first)).ok())
    };
    if OURS.get().is_none()
        && let Some(block) = taken()
    {
        // Of two threads that come here at once one wins, and the other's block is given back.
        let _ = OURS.set(block);
    }
    let ours = OURS.get().context("every block of ports is taken")?;
    let first = ours.local_addr()?.port();
    loop {
        let step = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        ensure!(step < BLOCK, "all ports from {first} on were used");
        if TcpListener::bind(loopback(first + step)).is_ok() {
            return Ok(first + step);
        }
    }
}

/// A port of this machine alone.
pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
