//! An introduction in a program's environment.

use super::Introduction;
use crate::peer::Peer;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use switchboard_proto::proxy_header::Version;

impl Introduction {
    /// What the proxy said, and where it is: variables with their values. `own` is our end of the connection with it.
    pub(crate) fn variables(&self, own: Option<SocketAddr>) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        let mut set = |name: &str, value: String| variables.push((format!("PROXY_{name}"), value));
        let version = match self.header.version {
            Version::V1 => "1",
            Version::V2 => "2",
        };
        set("VERSION", version.to_owned());
        if let Peer::Inet(upstream) = self.upstream {
            set("REMOTEIP", upstream.ip().to_canonical().to_string());
            set("REMOTEPORT", upstream.port().to_string());
        }
        if let Some(own) = own {
            set("LOCALIP", own.ip().to_canonical().to_string());
            set("LOCALPORT", own.port().to_string());
        }
        for (name, value) in self.said() {
            let name = name.strip_prefix("proxy_").unwrap_or(name).to_ascii_uppercase();
            set(&name, Percent(value).to_string());
        }
        let extras = self.extras();
        if let Some(ssl) = extras.ssl.as_ref().filter(|ssl| ssl.certificate.session) {
            set("TLS_VERIFY", ssl.verify.to_string());
        }
        for other in extras.others.iter().filter(|other| (0xe0..=0xef).contains(&other.kind)) {
            set(&format!("TLV_{:02X}", other.kind), Hexadecimal(&other.value).to_string());
        }
        variables
    }
}

/// Bytes of strangers in a form that no shell takes for more than text.
struct Percent<'a>(&'a [u8]);

impl fmt::Display for Percent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            match byte {
                // Nobody's option.
                b'-' if at == 0 => f.write_str("%2D")?,
                b'.' | b'_' | b':' | b'/' | b'@' | b'+' | b'=' | b',' | b'-' => {
                    f.write_char(char::from(*byte))?;
                }
                byte if byte.is_ascii_alphanumeric() => f.write_char(char::from(*byte))?,
                byte => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

struct Hexadecimal<'a>(&'a [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
