//! What tests share: a trust root in memory, a clock, processes with a deadline, network namespaces, waiting,
//! a kube-apiserver, a hosting cluster, free ports, pages of documentation that are compared with the code.

mod apiserver;
mod clock;
mod collector;
mod documented;
mod eventually;
mod hosting;
mod netns;
mod port;
mod process;
mod root;

pub use apiserver::{etcd_flags, kube_apiserver_flags};
pub use clock::FakeClock;
pub use collector::{Collector, Span};
pub use documented::documented;
pub use eventually::eventually;
pub use hosting::{Account, HostingCluster};
pub use netns::Netns;
pub use port::free_port;
pub use process::Process;
pub use root::{Root, Wish};
