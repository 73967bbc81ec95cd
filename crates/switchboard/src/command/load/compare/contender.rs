//! [`Contender`]: a server that is compared: one that is there, or one that is started for it.

use crate::command::connect::Spot;
use crate::command::load::server::owner;
use crate::command::load::started::{PORT, Started};
use switchboard_net::{Address, Error};

/// A server.
pub(super) struct Contender {
    /// As it stands on the command line.
    written: String,
    pub(super) remote: Spot,
    started: Option<Started>,
}

impl Contender {
    /// An endpoint, or a command with `{port}`, which is started on these processors and waited for.
    ///
    /// # Errors
    /// It is neither, or does not start, or does not answer in time.
    pub(super) fn start(
        written: &str,
        processors: &[usize],
        say: &mut dyn FnMut(&str),
    ) -> Result<Contender, Error> {
        if !written.contains(PORT) {
            return match Spot::parse(written) {
                Ok(remote) => Ok(Contender { written: written.to_owned(), remote, started: None }),
                Err(error) => Err(Error::Config(format!("{error}; a command to start needs {PORT} in it"))),
            };
        }
        let words = ["/bin/sh".to_owned(), "-c".to_owned(), format!("exec {written}")];
        let told = Started::told(&words, processors, &mut |what| say(&format!("`{written}`: {what}")));
        let (started, address) = told.map_err(|why| Error::Config(format!("`{written}`: {why}")))?;
        let remote = Spot::parse(&address.to_string())?;
        Ok(Contender { written: written.to_owned(), remote, started: Some(started) })
    }

    /// Whether it was started and has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.started.as_ref().is_some_and(Started::has_ended)
    }

    /// What went wrong with one that was started, with its own last words.
    pub(super) fn complaint(self, what: &str) -> String {
        let what = self.started.map_or_else(|| what.to_owned(), |started| started.complaint(what));
        format!("`{}`: {what}", self.written)
    }

    /// Its process, if that can be known.
    pub(super) fn pid(&self, address: &Address) -> Option<i32> {
        let own = self.started.as_ref().map(|started| started.pid().as_raw_pid());
        own.or_else(|| owner(address))
    }
}
