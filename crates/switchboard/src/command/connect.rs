//! Stand-in until the verb is here.
use crate::exit::Exit;
use crate::report::Output;
/// Connects to an endpoint
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {}
pub(crate) fn run(_arguments: Arguments, _out: &mut Output) -> Exit {
    Exit::Failed
}
