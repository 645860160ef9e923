//! `sextant hosted …`: what the chart's hooks and people do about a control plane in another cluster.
mod purge;
mod rules;
mod upgrade;

pub use purge::{Leftovers, purge};
pub use rules::{Facts, refusals};
pub use upgrade::{Verdict, check};
