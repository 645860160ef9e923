//! What tests share: a trust root in memory, a clock, processes with a deadline, network namespaces, waiting.

mod clock;
mod collector;
mod eventually;
mod netns;
mod process;
mod root;

pub use clock::FakeClock;
pub use collector::{Collector, Span};
pub use eventually::eventually;
pub use netns::Netns;
pub use process::Process;
pub use root::{Root, Wish};
