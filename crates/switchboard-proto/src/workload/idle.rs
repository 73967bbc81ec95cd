//! `idle`: connections that are made and held; each must answer when it is new, and again at the end.

use super::{Exchange, Shape, Workload};
use alloc::boxed::Box;

pub(super) const WORKLOAD: Workload = Workload {
    name: "idle",
    summary: "connections that are held; each must answer when new and again at the end",
    service: "echo",
    size_bytes: 64,
    shape: |_| Shape::Hold,
    dialogue: Some(|errand, connection| Box::new(Exchange::new(errand, connection))),
};
