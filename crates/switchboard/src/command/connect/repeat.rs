//! `--repeat`: the same conversation several times, with the same input.

use super::end::End;
use super::opening::standard_with;
use super::task::{Task, failed};
use crate::exit::Exit;
use crate::report::Output;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::thread;
use switchboard_net::Error;
use switchboard_net::sys::clock;
use switchboard_net::talk::Ways;

/// Input that is kept for --repeat.
const REPEATED_INPUT: u64 = 64 << 20;

impl Task {
    /// The same conversation several times; the exit code is that of the first that failed.
    pub(super) fn repeat(&self, out: &mut Output) -> Exit {
        let mut exit = Exit::Ok;
        let mut good = 0;
        let input =
            match self.ends.iter().any(|end| matches!(end, End::Standard)).then(|| self.stored_input()) {
                Some(Err(error)) => return failed(&error, out),
                Some(Ok(input)) => Some(input),
                None => None,
            };
        let mut due = clock::now();
        for _ in 0..self.repeat {
            thread::sleep(due.since(clock::now()));
            due = due + self.every.unwrap_or_default();
            let standard = input.as_ref().map(|input| {
                let again = input.try_clone()?;
                (&again).rewind()?;
                standard_with(again.into())
            });
            let opened = match standard.transpose() {
                Ok(opened) => opened.map(|opened| (self.place_of_standard(), opened)),
                Err(error) => return failed(&Error::system("use the input again", error), out),
            };
            let round = self.converse(opened, &mut [None, None], out);
            good += u64::from(round == Exit::Ok);
            exit = if exit == Exit::Ok { round } else { exit };
        }
        if self.verbose || exit != Exit::Ok {
            out.talk(format_args!("{good} of {} times complete", self.repeat));
        }
        exit
    }

    fn place_of_standard(&self) -> usize {
        usize::from(!matches!(self.ends[0], End::Standard))
    }

    /// Standard input in a file that can be read again.
    fn stored_input(&self) -> Result<File, Error> {
        let failed = |error: io::Error| Error::system("keep the input for --repeat", error);
        let fd = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = File::from(fd.map_err(|errno| failed(errno.into()))?);
        if self.rules.ways != Ways::Receive {
            let most = REPEATED_INPUT + 1;
            let copied = io::copy(&mut io::stdin().lock().take(most), &mut file).map_err(failed)?;
            if copied == most {
                return Err(Error::Config(format!(
                    "--repeat keeps up to {REPEATED_INPUT} bytes of input in memory, and there is more"
                )));
            }
        }
        Ok(file)
    }
}
