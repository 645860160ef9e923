//! Drives a real cluster for the tests in `tests/`: its own compose project, ports, kubeconfig and state, removed
//! at the end. The images must be there (`cargo xtask images`).

mod cluster;
mod command;
mod wait;

pub use cluster::{Cluster, docker};
pub use command::{Outcome, run, run_with_input};
pub use wait::eventually;
