//! `connect`: a connection for each request, closed after the answer; with requests of 0 bytes the connection is all.

use super::{Exchange, Shape, Workload};
use alloc::boxed::Box;

pub(super) const WORKLOAD: Workload = Workload {
    name: "connect",
    summary: "a connection for each request; --size 0: connect and close",
    service: "echo",
    size_bytes: 64,
    shape: |_| Shape::Once,
    dialogue: Some(|errand, connection| Box::new(Exchange::new(errand, connection))),
};
