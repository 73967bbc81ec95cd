//! Configuration files: text becomes a [`Document`](document::Document), that becomes a [`Plan`](crate::plan::Plan), and all
//! that is wrong is said at once, each with its place.

pub(crate) mod complaint;
pub(crate) mod document;
pub(crate) mod read;
pub(crate) mod source;
pub(crate) mod value;
