//! containerd, kubelet and kube-proxy: their files, their processes, the images they need.

mod files;
mod images;
mod probe;
mod run;

pub(crate) use files::resolver;
pub use images::Images;
pub use run::{Children, Runtime};
