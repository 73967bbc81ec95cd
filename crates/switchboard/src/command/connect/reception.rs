//! TLS with whoever comes to an end that listens.

use super::Arguments;
use super::end::End;
use super::layers::Trouble;
use super::opening::{Opened, What};
use super::report::Agreed;
use super::task::Task;
use crate::exit::Exit;
use crate::plan::{Wanted, secured};
use crate::report::Output;
use switchboard_net::Error;
use switchboard_net::tls::{Server, Version};

impl Arguments {
    /// How TLS is spoken with the clients of these ends; nothing if it is not.
    pub(super) fn reception(&self, ends: &[End; 2]) -> Result<Option<Server>, Error> {
        let secure = ends.iter().find(|end| matches!(end, End::Listening(spot) if spot.tls));
        let Some(end) = secure else { return Ok(None) };
        let flags = &self.securing;
        let Some(cert) = &flags.cert else {
            return Err(Error::Config(format!(
                "{end}: TLS needs a certificate and its key: --cert FILE --key FILE (`switchboard cert dev` makes them for \
                 a test)"
            )));
        };
        let usual = Wanted::default();
        Wanted {
            certificates: vec![cert.clone()],
            keys: flags.key.iter().cloned().collect(),
            alpn: flags.alpn.clone(),
            client: flags.client_cert.unwrap_or_default(),
            client_roots: flags.client_roots.clone(),
            min_version: flags.tls_min.unwrap_or(Version::Tls12),
            max_version: flags.tls_max.unwrap_or(Version::Tls13),
            handshake_timeout: self.connecting.connect_timeout.unwrap_or(usual.handshake_timeout),
            // A client who leaves without having read his ticket resets the connection, and what he said last is lost.
            tickets: false,
            ..usual
        }
        .server()
        .map(Some)
    }
}

impl Task {
    /// Shakes hands with whoever came to an end that listens, if TLS is spoken there.
    pub(super) fn receive(&self, place: usize, opened: Opened, out: &mut Output) -> Result<Opened, Exit> {
        let (End::Listening(spot), Some(server)) = (&self.ends[place], &self.layers.server) else {
            return Ok(opened);
        };
        let Opened { name, what: What::Socket { channel, companions, program, addressee } } = opened else {
            return Ok(opened);
        };
        if !spot.tls {
            return Ok(Opened { name, what: What::Socket { channel, companions, program, addressee } });
        }
        let channel = channel.welcome(server).map_err(|error| {
            let trouble = Trouble::of_client(&name, &error);
            out.talk(&trouble);
            trouble.exit
        })?;
        let name = secured(&name, true);
        if let Some(facts) = channel.facts().filter(|_| self.verbose) {
            out.talk(Agreed(&facts));
        }
        Ok(Opened { name, what: What::Socket { channel, companions, program, addressee } })
    }
}
