//! One module per command: asks the cluster, and says how the answer looks.
pub mod certificate;
pub mod credential;
pub mod join;
pub mod kubeconfig;
pub mod node;
pub mod status;
pub mod telemetry;
pub mod token;
pub mod trace;
pub mod version;
