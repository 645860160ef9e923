//! What the node keeps on disk.

mod files;
mod identity;
mod last;

pub use files::{read_optional, write_if_changed, write_private, write_public};
pub use identity::{Keys, Purpose, State};
pub use last::Last;
