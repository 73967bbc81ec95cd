//! One conversation after the other: the next client waits in the listener's queue until this one has ended.

use super::attend::Inside;
use super::blocking::Lent;
use super::lobby::{Lobby, Next};
use super::{Engine, EngineRow, Site, Workers};
use crate::error::Error;
use crate::stop::Stop;
use std::thread;
use switchboard_proto::Instant;

pub(super) const ENGINE: EngineRow = EngineRow {
    name: "iterative",
    summary: "one client at a time, the others wait in the queue",
    source: "UNP 1.5, 30.2",
    workers: Workers::ReusePort,
    datagrams: true,
    many_services: false,
    spins: false,
    engine: &Iterative,
};

struct Iterative;

impl Engine for Iterative {
    fn serve(&self, mut site: Site<'_>) -> Result<(), Error> {
        let inside = Inside::default();
        let ended = Stop::new()?;
        let mut lobby = Lobby::new(&mut site, 1, None)?;
        thread::scope(|scope| {
            // While a client is served nobody else looks at the request to stop.
            let watch = thread::Builder::new().name("stop".into());
            watch
                .spawn_scoped(scope, || inside.cut_when_late(&site, &ended))
                .map_err(|error| Error::system("start a thread", error))?;
            let mut lent = Lent::default();
            let result = loop {
                if lobby.is_closed() {
                    break Ok(());
                }
                match lobby.next(&site, Instant::NEVER) {
                    Ok(Next::Client(arrival)) => {
                        inside.attend(&site, arrival, &mut lent);
                        lobby.gate.leave();
                        if inside.is_cut() {
                            break Ok(());
                        }
                    }
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            ended.set();
            result
        })?;
        site.journal.finish();
        Ok(())
    }
}
