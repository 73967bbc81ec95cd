//! What the typed clients need of a [`Task`]: a socket, or an answer to a request.

use super::end::End;
use super::opening::What;
use super::task::{Task, failed};
use crate::exit::Exit;
use crate::report::Output;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use switchboard_net::{Channel, Error};

impl Task {
    /// The connection to the remote end.
    pub(super) fn call(&self, out: &mut Output) -> Result<Channel, Exit> {
        let opened = match &self.ends[0] {
            End::Remote(remote) => self.dial(remote, None, out)?,
            _ => return Err(Exit::Usage),
        };
        match opened.what {
            What::Socket { channel, .. } => Ok(channel),
            What::Local { .. } => Err(Exit::Usage),
        }
    }

    /// Sends a request to the remote end: the answer, if everything went well; what did not is said.
    pub(super) fn ask(&self, request: &[u8], out: &mut Output) -> Result<Vec<u8>, Exit> {
        let file =
            |name: &str| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map(File::from);
        let prepare = || -> io::Result<(File, File)> {
            let (mut input, output) = (file("request")?, file("answer")?);
            input.write_all(request)?;
            input.rewind()?;
            Ok((input, output))
        };
        let wrong = |error: io::Error| Error::system("keep request and answer", error);
        let (input, mut output) = prepare().map_err(|error| failed(&wrong(error), out))?;
        let End::Remote(remote) = &self.ends[0] else { return Err(Exit::Usage) };
        let peer = self.dial(remote, None, out)?;
        let kept = output.try_clone().map_err(|error| failed(&wrong(error), out))?;
        match self.talk(peer, &input.into(), &kept.into(), out) {
            Exit::Ok => {}
            exit => return Err(exit),
        }
        let mut answer = Vec::new();
        output
            .rewind()
            .and_then(|()| output.read_to_end(&mut answer))
            .map_err(|error| failed(&wrong(error), out))?;
        Ok(answer)
    }
}
