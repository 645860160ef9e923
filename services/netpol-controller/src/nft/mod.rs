//! The kernel's nf_tables, spoken over netlink. It touches one table, [`TABLE`](crate::domain::ruleset::TABLE).

pub mod answer;
pub mod attribute;
pub mod consts;
pub mod decode;
pub mod denied;
pub mod element;
pub mod encode;
pub mod expression;
pub mod kernel;
pub mod message;
pub mod monitor;
pub mod socket;
