//! Pictures and files, all from one [`Recording`](crate::record::Recording).
//!
//! | room | what it makes |
//! |---|---|
//! | [`ladder`] | the layout: rows on one time axis, hosts as columns, the wire between them |
//! | [`terminal`] | the ladder and the score table as text |
//! | [`svg`], [`html`] | the ladder as a picture; a report in one file |
//! | [`guide`] | the field guide: a page for each case |
//! | [`jsonl`] | the log itself, to be kept and read again |
//! | [`junit`] | the findings for machines that count tests |
//! | [`pcapng`] | packets as one host saw them |

mod finding;
mod flow;
pub mod guide;
pub mod html;
pub mod jsonl;
pub mod junit;
pub mod ladder;
pub mod pcapng;
pub mod svg;
pub mod terminal;
mod wording;

pub use finding::{Chapter, Class, Finding};
pub use flow::Kind;
pub use ladder::Ladder;
