//! What an operator asks.

mod certificates;
mod nodes;
mod overview;
mod service;
mod status;

pub use overview::Overviews;
pub use service::AdminService;
pub(crate) use status::replicas;
