//! The kernel's nf_tables, spoken over netlink. It touches one table, [`TABLE`](crate::domain::ruleset::TABLE).

pub mod attribute;
pub mod consts;
pub mod decode;
pub mod element;
pub mod encode;
pub mod expression;
pub mod kernel;
pub mod message;
pub mod socket;
