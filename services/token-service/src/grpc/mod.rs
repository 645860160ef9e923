//! The gRPC services.

mod join_tokens;
mod signer;

pub use join_tokens::JoinTokensService;
pub use signer::SignerService;
