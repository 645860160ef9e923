//! Turns NetworkPolicy objects into one nftables table of this node.

pub mod domain;
pub mod error;
pub mod nft;
