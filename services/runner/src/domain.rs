//! Decisions without I/O.

pub(crate) mod change;
pub mod component;
pub(crate) mod path;
