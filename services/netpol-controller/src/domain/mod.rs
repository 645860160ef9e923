//! Network policy as pure data: from Kubernetes objects to a ruleset, and from one ruleset to the next.
//!
//! [`parse`] makes [`model`] values of API objects; [`cluster`] holds them and says who owns which address;
//! [`grant`] turns the policies of one pod into what they allow; [`program`] lowers that to chains and sets;
//! [`engine`] does so incrementally; [`ruleset`] is the result, [`diff`] the way from one result to the next, and
//! [`verdict`] reads it as the kernel does.

pub mod atom;
pub mod cluster;
pub mod diff;
pub mod engine;
pub mod explain;
pub mod frame;
pub mod grant;
pub mod model;
pub mod name;
pub mod parse;
pub mod ports;
pub mod program;
pub mod ranges;
pub mod ruleset;
pub mod selector;
pub mod verdict;
