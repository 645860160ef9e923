//! The CNI plugin `sextant-policy`, last in the chain: holds a pod until its policy is in the kernel.
//!
//! It is this binary under another name, so it must start quickly and needs no configuration but its input.

mod call;
mod plugin;

pub use call::{Call, Failure, Verdict};
pub use plugin::{is_plugin, main};
