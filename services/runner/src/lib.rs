//! The entry point of every image that holds an upstream component, and the library that it shares with node-agent.

pub mod child;
