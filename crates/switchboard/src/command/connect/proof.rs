//! The name that a server with TLS must prove, and what is said when he does not: also of those whom `load` loads.

use crate::exit::Exit;
use switchboard_net::channel::HandshakeError;
use switchboard_net::tls::Failure;
use switchboard_net::{Endpoint, Error, Host, Place};

/// The name that the server at `endpoint` must prove, if another one was not given.
///
/// # Errors
/// An endpoint without a name.
pub(in crate::command) fn name_of(endpoint: &Endpoint, given: Option<&str>) -> Result<String, Error> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    match &endpoint.place {
        Place::Inet(Host::Name(name), _) => Ok(name.clone()),
        Place::Inet(Host::Ip(ip, _), _) => Ok(ip.to_string()),
        Place::Inet(Host::Loopback, _) => Ok("localhost".into()),
        Place::Inet(Host::Any, _) | Place::Path(_) | Place::Abstract(_) | Place::Vsock(..) => {
            Err(Error::Config(format!(
                "{endpoint} has no name that a certificate could have: give one with --server-name"
            )))
        }
    }
}

/// The exit code and what is said when a server and we have no TLS. `wanted` is the name that he was to prove.
pub(in crate::command) fn no_tls(server: &str, wanted: &str, error: &HandshakeError) -> (Exit, String) {
    let exit = match error {
        HandshakeError::TimedOut(_) => Exit::ConnectTimeout,
        HandshakeError::Tls(_) | HandshakeError::System(_) => Exit::Tls,
    };
    let hint = match error {
        HandshakeError::Tls(Failure::Certificate(_)) => {
            ". --ca names a file of whom to trust, --server-name the name that is wanted"
        }
        _ => "",
    };
    (exit, format!("no TLS with {server} as {}: {error}{hint}", wanted.escape_debug()))
}
