//! TLS of a service: whether its table and its places belong together, and what comes of the files.

use super::super::complaint::Complaint;
use super::super::document::TlsTable;
use super::super::source::At;
use super::super::value::{Bytes, Many, Showing, TlsVersion};
use super::{Draft, absolute};
use crate::plan::{Action, Demand, Place, Wanted};
use std::path::PathBuf;
use switchboard_net::program::Mode;
use switchboard_net::tls::Server;

impl Draft<'_> {
    /// How TLS is spoken at the places that ask for it.
    pub(super) fn tls(&mut self, action: Option<&Action>, listen: &[At<Place>]) -> Option<Server> {
        let Some(place) = listen.iter().find(|at| at.value.tls) else {
            self.useless(&["tls"], "none of its addresses begins with `tls:`");
            return None;
        };
        let why = match action {
            Some(Action::Tcpmux) => {
                Some("tcpmux hands its clients' sockets on, and would have to hand the session on too")
            }
            Some(Action::Program(program)) if program.mode != Mode::PerConnection => {
                Some("a program that gets the listening socket, or datagrams, has to speak TLS itself")
            }
            _ => None,
        };
        if let Some(why) = why {
            let complaint = Complaint::new("there cannot be TLS in front of this service");
            self.complain(complaint.at(place.span, why));
            return None;
        }
        let Some(at) = self.service.all.tls.clone() else {
            let complaint =
                Complaint::new("TLS needs a certificate and its key").at(place.span, "TLS is asked for here");
            self.complain(complaint.help(
                "add `tls = { cert = \"/etc/ssl/host.pem\", key = \"/etc/ssl/private/host.key\" }`; `switchboard cert \
                 dev` makes them for a test",
            ));
            return None;
        };
        let wanted = self.wanted(&at.value)?;
        if wanted.certificates.is_empty() {
            if !at.value.broken.contains(&"cert") {
                self.complain(Complaint::new("TLS needs a certificate").at(at.span, "expected `cert`"));
            }
            return None;
        }
        match wanted.server() {
            Ok(server) => Some(server),
            Err(error) => {
                self.complain(Complaint::new(error.to_string()).at(at.span, ""));
                None
            }
        }
    }

    /// What the table asks for; nothing if a path is none.
    fn wanted(&mut self, table: &TlsTable) -> Option<Wanted> {
        let usual = Wanted::default();
        let version = |at: &Option<At<TlsVersion>>, otherwise| at.as_ref().map_or(otherwise, |at| at.value.0);
        let client_roots = match &table.client_roots {
            Some(at) => Some(absolute(at, self.complaints)?),
            None => None,
        };
        Some(Wanted {
            certificates: self.paths(&table.cert)?,
            keys: self.paths(&table.key)?,
            alpn: table.alpn.iter().flat_map(|at| &at.value.0).map(|at| at.value.clone()).collect(),
            client: match table.client.as_ref().map(|at| at.value) {
                None | Some(Showing::None) => Demand::None,
                Some(Showing::Optional) => Demand::Optional,
                Some(Showing::Required) => Demand::Required,
            },
            client_roots,
            min_version: version(&table.min_version, usual.min_version),
            max_version: version(&table.max_version, usual.max_version),
            handshake_timeout: table
                .handshake_timeout
                .as_ref()
                .map_or(usual.handshake_timeout, |at| at.value.0),
            handshake_bytes: table
                .handshake_bytes
                .as_ref()
                .map_or(usual.handshake_bytes, |At { value: Bytes(bytes), .. }| {
                    usize::try_from(*bytes).unwrap_or(usize::MAX)
                }),
            tickets: usual.tickets,
        })
    }

    fn paths(&mut self, at: &Option<At<Many<PathBuf>>>) -> Option<Vec<PathBuf>> {
        let all = at.iter().flat_map(|at| &at.value.0);
        all.map(|at| absolute(at, self.complaints)).collect()
    }
}
