//! The join API: HTTPS with JSON bodies, for whoever has no certificate yet. Everything before authentication is
//! bounded: body, time, concurrency, attempts per source.

mod enroll;
mod limits;
mod nonce;
mod rejoin;
mod routes;
mod token;

pub use limits::Attempts;
pub use nonce::Nonces;
pub use routes::{JoinApi, router};
