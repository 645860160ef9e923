//! Turns NetworkPolicy objects into one nftables table of this node.

pub mod domain;
