//! The texts that users write, as `switchboard-net` reads them: nothing makes it panic, and what it accepts is what
//! it says that it accepts.

use std::time::Duration;
use switchboard_net::{Endpoint, Error, Host, Place, SocketOption, SocketOptions, quantity as read};

/// A refusal says what is wrong with the text, and nothing else: it is the user's error, not the system's.
fn is_refusal(error: &Error) {
    assert!(matches!(error, Error::Config(_)) && !error.to_string().is_empty(), "{error:?}");
}

/// Any text is an endpoint or refused with a reason; an endpoint is written as it is read.
pub fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Endpoint>() {
        Err(error) => {
            is_refusal(&error);
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?} could act on a terminal");
        }
        Ok(endpoint) if written_otherwise(&endpoint) => {}
        Ok(endpoint) => {
            let written = endpoint.to_string();
            let again = written.parse::<Endpoint>();
            assert_eq!(again.ok().as_ref(), Some(&endpoint), "{text:?} is written {written:?}");
        }
    }
}

/// Endpoints that are shown in another form than they are read in: an abstract name with bytes that a terminal would
/// act on is shown escaped, and an interface named with an IPv4 address, which cannot be resolved, is left out.
fn written_otherwise(endpoint: &Endpoint) -> bool {
    match &endpoint.place {
        Place::Abstract(name) => name.escape_ascii().count() != name.len(),
        Place::Inet(Host::Ip(ip, Some(_)), _) => ip.is_ipv4(),
        _ => false,
    }
}

/// Numbers with units: refused with a reason, or within the bounds that their functions promise.
pub fn quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match read::duration(text) {
        Ok(duration) => assert!(duration <= Duration::from_secs(10_000 * 86_400)),
        Err(error) => is_refusal(&error),
    }
    match read::count(text) {
        Ok(count) => assert!(count <= 4_000_000_000),
        Err(error) => is_refusal(&error),
    }
    match read::bit_rate(text) {
        Ok(rate) => {
            assert!(rate >= 0.0 && !rate.is_nan());
            // Saturates instead of wrapping.
            let product = |rtt| read::bandwidth_delay_product(rate, rtt);
            assert!(product(Duration::from_secs(1)) <= product(Duration::from_secs(2)));
        }
        Err(error) => is_refusal(&error),
    }
    if let Err(error) = read::bytes(text) {
        is_refusal(&error);
    }
}

/// `name=value`: refused with a reason, or of a name that the table has.
pub fn socket_option(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((name, value)) = text.split_once('=') else { return };
    match SocketOptions::default().set(name, value) {
        Ok(()) => assert!(SocketOption::find(name).is_some()),
        Err(error) => is_refusal(&error),
    }
}

/// Any configuration is refused, with all that is wrong in words that a terminal can bear, or it is written anew as a
/// configuration that comes to the same.
pub fn config_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match switchboard::check_configuration(text) {
        Err(complaints) => {
            assert!(complaints.starts_with("error: "), "{complaints:?}");
            assert!(!complaints.contains(|c: char| c.is_control() && c != '\n'), "{complaints:?}");
        }
        Ok(written) => {
            assert_eq!(switchboard::check_configuration(&written).as_ref(), Ok(&written), "{text:?}")
        }
    }
}
