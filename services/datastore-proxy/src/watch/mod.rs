//! Who hears of which change.

pub mod committed;
pub mod follower;
pub mod hub;
pub mod outbox;
mod ring;
pub mod source;
