//! Decisions without I/O.

pub(crate) mod change;
pub mod component;
pub(crate) mod kubeconfig;
pub(crate) mod path;
