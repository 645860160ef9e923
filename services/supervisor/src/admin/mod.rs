//! What an operator asks.

mod nodes;
mod service;
mod status;

pub use service::AdminService;
