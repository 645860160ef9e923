//! Decisions without effects: what may be dialled, what files say, what the kernel should hold.

pub mod balancer;
pub mod cni;
pub mod containerd;
pub mod kubelet;
pub mod kubeproxy;
pub mod overlay;
pub mod resolv;
pub mod target;
