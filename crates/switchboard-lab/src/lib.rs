//! The fault lab: real kernels' network stacks in namespaces, a wire that can be broken on purpose, a watcher of
//! system calls, and a judge of what became of an unmodified program. No root, no Docker, no `tc`.
//!
//! Everything that is seen becomes an [`record::Event`] of one [`record::Recording`], and everything that is shown is
//! rendered from it.

#![deny(unsafe_code)]

pub mod actor;
pub mod diag;
pub mod formula;
pub mod host;
pub mod judge;
pub mod mode;
pub mod names;
pub mod record;
pub mod render;
pub mod run;
pub mod scenario;
pub mod watch;
pub mod wire;
