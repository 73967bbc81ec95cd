//! The request to go on with TLS on a connection that began without, as the mail protocols and others have it
//! (RFC 2595, RFC 3207, RFC 4217, RFC 4642, RFC 5804).
//!
//! ```text
//!   we ◀── greeting ──── server      smtp, lmtp, pop3, imap, nntp, ftp, sieve: lines
//!   we ─── (what can you?) ──▶       where the protocol has us ask
//!   we ─── STARTTLS ───▶             postgres: eight bytes, answered by one
//!   we ◀── go on ──────
//!   we ◀══ TLS, which the client begins ══▶
//! ```
//! Whatever stands behind the last answer before TLS has begun was put there by somebody in between, who wants it to be
//! taken for something said inside TLS (CVE-2011-0411 and its kin): that is an error.

mod dialog;
mod postgres;

use crate::prelude::{Failure, Prelude, Why};
use alloc::boxed::Box;
use dialog::Dialog;
use postgres::Postgres;

/// Protocols whose way to TLS is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// RFC 4217: `AUTH TLS`.
    Ftp,
    /// RFC 9051 §6.2.1.
    Imap,
    /// RFC 2033, as SMTP.
    Lmtp,
    /// RFC 4642.
    Nntp,
    /// RFC 2595 §4: `STLS`.
    Pop3,
    /// PostgreSQL's `SSLRequest` (its manual, "SSL Session Encryption").
    Postgres,
    /// RFC 5804: ManageSieve.
    Sieve,
    /// RFC 3207.
    Smtp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 8] = [
        Protocol::Ftp,
        Protocol::Imap,
        Protocol::Lmtp,
        Protocol::Nntp,
        Protocol::Pop3,
        Protocol::Postgres,
        Protocol::Sieve,
        Protocol::Smtp,
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Ftp => "ftp",
            Protocol::Imap => "imap",
            Protocol::Lmtp => "lmtp",
            Protocol::Nntp => "nntp",
            Protocol::Pop3 => "pop3",
            Protocol::Postgres => "postgres",
            Protocol::Sieve => "sieve",
            Protocol::Smtp => "smtp",
        }
    }

    /// Our side of it.
    pub fn start(self) -> Box<dyn Prelude + Send> {
        match self {
            Protocol::Postgres => Box::new(Postgres::default()),
            lines => Box::new(Dialog::new(lines)),
        }
    }
}

/// That something stands behind the last answer.
pub fn injected() -> Failure {
    Failure::new(
        Why::Malformed,
        "something follows its consent that is not TLS: somebody in between may have put it there",
    )
}
