//! Decisions without I/O: tokens, their verification, claims, limits.

pub mod claims;
pub mod limit;
pub mod record;
pub mod token;
pub mod verification;
