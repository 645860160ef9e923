//! `sextant dashboard`: the living cluster on one screen.
//!
//! Answers of the Admin service ([`feed`]) become a [`view`], of which tables are made ([`section`]) that are printed
//! or [drawn](draw); keys change what is shown ([`ui`]). Only [`screen`] and the loop in [`live`] touch the terminal.
pub mod draw;
mod feed;
mod live;
mod screen;
pub mod section;
pub mod ui;
pub mod view;

pub use feed::{Answers, Feed};
pub use live::live;
