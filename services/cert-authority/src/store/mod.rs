//! What cert-authority keeps, in folders of its own or, hosted, in Secrets: it needs no other part to start.

pub mod bootstrap;
pub mod enrolment;
pub mod files;
pub mod folder;
pub mod issued;
pub mod keyring;
pub mod secrets;
pub mod state;
