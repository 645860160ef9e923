//! PID 1 of the node's container.
//!
//! It prepares mounts and control groups, starts the agent and starts it again when it dies, and reaps what is left
//! to it. Containerd, kubelet and the pods aren't the agent's to lose: when it dies they become children of this
//! process, and the next agent adopts them.

mod cgroup;
mod mounts;
mod reap;
mod run;

pub use run::main;
