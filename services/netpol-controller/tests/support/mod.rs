//! What the tests share.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test uses its part"
)]

pub mod api;
pub mod cases;
pub mod lab;
pub mod objects;
pub mod probe;
pub mod spec;
pub mod world;
