//! What cert-authority decides, without I/O: the authorities and their keys, the table of profiles, enrolment
//! tokens, sealing.

pub mod account;
pub mod aead;
pub mod authority;
pub mod csr;
pub mod denied;
pub mod enrolment;
pub mod hex;
pub mod keyring;
pub mod kms;
pub mod node;
pub mod policy;
pub mod profile;
pub mod rate;
pub mod san;
pub mod seal;
pub mod signing;
pub mod template;
