//! The Kubernetes API, followed: changes of pods, namespaces and policies, and whether we are still wanted.

pub mod feed;
pub mod retire;
