//! What tests share: a trust root in memory, a clock, processes with a deadline, network namespaces, waiting,
//! pages of documentation that are compared with the code.

mod clock;
mod collector;
mod documented;
mod eventually;
mod netns;
mod process;
mod root;

pub use clock::FakeClock;
pub use collector::{Collector, Span};
pub use documented::documented;
pub use eventually::eventually;
pub use netns::Netns;
pub use process::Process;
pub use root::{Root, Wish};
