//! The socket on the node: what the CNI plugin and operators ask.

pub mod listener;
pub mod service;
