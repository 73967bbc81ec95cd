//! `load engines`: the bake-off of the engines.

use crate::exit::Exit;
use crate::report::Output;
use clap::Args;

/// Compares the engines of our own server under the same load
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  switchboard load engines")]
pub(crate) struct Arguments {}

pub(super) fn run(_: &Arguments, out: &mut Output) -> Exit {
    out.talk("the bake-off is not here yet; `cargo bench --bench engines` compares the engines");
    Exit::Failed
}
