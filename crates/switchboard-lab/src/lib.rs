//! The fault lab: real kernels' network stacks in namespaces, a wire that can be broken on purpose, a watcher of
//! system calls, and a judge of what became of an unmodified program. No root, no Docker, no `tc`.
//!
//! Everything that is seen becomes an [`record::Event`] of one [`record::Recording`], and everything that is shown is
//! rendered from it.

#![deny(unsafe_code)]

pub mod diag;
pub mod host;
pub mod mode;
pub mod record;
pub mod render;
pub mod watch;
pub mod wire;
