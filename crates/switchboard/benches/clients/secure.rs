//! The cases over TLS, for those who speak it: the end of a half is a message there (close_notify), and the end of the
//! connection without it says that somebody may have cut it short.

use crate::case::{MB, PATIENCE, Verdict, broken, data, whole};
use crate::run::{Ran, all_of, run};
use crate::sealed::{HOUSE, Scripted};
use crate::subject::Subject;
use std::io::{self, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;
use switchboard_net::sys::socket;
use switchboard_net::tls::Settings;

/// How a client is called for that server.
fn caller(subject: &Subject, address: &str) -> io::Result<Command> {
    let port =
        address.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    subject.tls("localhost", port, &HOUSE.ca).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// A server of one conversation, and what it makes of it; an error of kind `Unsupported` for a client without TLS.
fn serve<T: Send + 'static>(
    subject: &Subject,
    talk: impl FnOnce(Scripted) -> T + Send + 'static,
) -> io::Result<(String, thread::JoinHandle<T>)> {
    caller(subject, ":0")?;
    Ok(Scripted::start(Settings::new(vec![HOUSE.identity("good")]), talk))
}

/// Everything that comes, however it ends.
fn heard(client: &mut Scripted) -> Vec<u8> {
    let mut all = Vec::new();
    let mut room = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = client.0.recv_within(&mut room, PATIENCE) {
        all.extend_from_slice(&room[..n]);
    }
    all
}

pub(crate) fn answer_after_end(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (address, server) = serve(subject, |mut client| {
        let question = heard(&mut client);
        let _ = client.try_send(&question);
        let _ = client.0.finish();
    })?;
    let question = data(MB);
    let ran = run(caller(subject, &address)?, PATIENCE, all_of(&question))?;
    let _ = server.join();
    Ok((whole(&ran, ran.stdout == question), ran.took))
}

pub(crate) fn cut_short(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (address, server) = serve(subject, |mut client| {
        let _ = client.try_send(&data(MB));
        // TCP's end, without that of TLS.
        socket::shutdown_write(&client.0);
        heard(&mut client);
    })?;
    let ran = run(caller(subject, &address)?, PATIENCE, all_of(b"question\n"))?;
    let _ = server.join();
    Ok((broken(&ran, ran.stdout == data(MB)), ran.took))
}

pub(crate) fn input_after_end(subject: &Subject) -> io::Result<(Verdict, Duration)> {
    let (address, server) = serve(subject, |mut client| {
        let _ = client.try_send(b"bye");
        let _ = client.0.finish();
        heard(&mut client)
    })?;
    let ran: Ran = run(caller(subject, &address)?, PATIENCE, |mut pipe, _| {
        // The server's end has come by then.
        thread::sleep(Duration::from_millis(300));
        let _ = pipe.write_all(&data(3 * MB));
    })?;
    let heard = server.join().unwrap_or_default();
    Ok((whole(&ran, heard == data(3 * MB) && ran.stdout == b"bye"), ran.took))
}
