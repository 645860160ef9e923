//! What cert-authority keeps on disk, in folders of its own: it needs nobody to start.

pub mod bootstrap;
pub mod enrolment;
pub mod files;
pub mod issued;
pub mod keyring;
