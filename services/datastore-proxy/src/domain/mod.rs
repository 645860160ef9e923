//! What the store means, without I/O: key ranges, versions of keys, transactions, leases, who may touch what.

pub mod alarm;
pub mod authz;
pub mod digest;
pub mod election;
pub mod evaluate;
pub mod fair;
pub mod fault;
pub mod index;
pub mod interval;
pub mod lease;
pub mod overlap;
pub mod pending;
pub mod query;
pub mod quota;
pub mod range;
pub mod replay;
pub mod request;
pub mod state;
pub mod version;
