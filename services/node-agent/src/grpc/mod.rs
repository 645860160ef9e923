//! The agent's own socket on the node.

mod drain;
mod node;

pub use node::{NodeService, serve};
