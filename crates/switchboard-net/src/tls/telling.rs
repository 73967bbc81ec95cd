//! What is told of a TLS session: in the log record of its connection, and in a program's environment. Names come
//! from the peer: everything is escaped, and bounded by [`LONGEST`].

use super::{Certificate, Facts, Known};
use crate::journal::{Escaped, Format, Json};
use std::fmt::{self, Write as _};

/// Bytes of a name from the peer that are told.
const LONGEST: usize = 256;

impl Known {
    /// The part of a log record, each field after a space; for JSON a member after a comma.
    pub(crate) fn told(&self, format: Format) -> String {
        let mut text = String::new();
        let done = match format {
            Format::Human => self.pairs(&mut text, "", "tls"),
            Format::Logfmt => self.pairs(&mut text, "tls_", "tls_version"),
            Format::Json => self.json(&mut text),
        };
        debug_assert!(done.is_ok(), "writing into a string cannot fail");
        text
    }

    fn pairs(&self, out: &mut String, prefix: &str, version: &str) -> fmt::Result {
        if let Some(facts) = &self.facts {
            write!(out, " {version}={} {prefix}suite={}", facts.version, facts.suite)?;
            if facts.resumed {
                write!(out, " {prefix}resumed=yes")?;
            }
        }
        if let Some(name) = &self.server_name {
            write!(out, " {prefix}sni=\"{}\"", cut(name.as_bytes()))?;
        }
        if let Some(alpn) = self.facts.as_ref().and_then(|facts| facts.alpn.as_ref()) {
            write!(out, " {prefix}alpn=\"{}\"", cut(alpn))?;
        }
        if let Some(peer) = self.facts.as_ref().and_then(|facts| facts.peer.as_ref()) {
            write!(out, " {prefix}client=\"{}\"", cut(identity(peer).as_bytes()))?;
        }
        if let Some(failure) = &self.failure {
            write!(out, " {prefix}why=\"{}\"", Escaped(failure.to_string().as_bytes()))?;
        }
        Ok(())
    }

    fn json(&self, out: &mut String) -> fmt::Result {
        let mut members: Vec<String> = Vec::new();
        let mut put = |name: &str, value: &str| members.push(format!("\"{name}\":{}", Json(value)));
        if let Some(facts) = &self.facts {
            put("version", facts.version);
            put("suite", &facts.suite);
            if let Some(alpn) = &facts.alpn {
                put("alpn", &cut(alpn).to_string());
            }
            if let Some(peer) = &facts.peer {
                put("client", &cut(identity(peer).as_bytes()).to_string());
                put("client_subject", &cut(peer.subject.as_bytes()).to_string());
            }
        }
        if let Some(name) = &self.server_name {
            put("sni", &cut(name.as_bytes()).to_string());
        }
        if let Some(failure) = &self.failure {
            put("failure", failure.name());
            put("why", &Escaped(failure.to_string().as_bytes()).to_string());
        }
        if let Some(facts) = &self.facts {
            members.push(format!("\"resumed\":{}", facts.resumed));
        }
        write!(out, ",\"tls\":{{{}}}", members.join(","))
    }
}

/// Who a client is: all alternative names, since any of them may be the one that somebody looks for.
fn identity(peer: &Certificate) -> String {
    if peer.sans.is_empty() {
        return peer.name();
    }
    let names: Vec<String> = peer.sans.iter().map(ToString::to_string).collect();
    names.join(",")
}

fn cut(bytes: &[u8]) -> Escaped<'_> {
    Escaped(&bytes[..bytes.len().min(LONGEST)])
}

impl Facts {
    /// The variables that mod_ssl and s6-tlsd give programs. Text from the peer is there only if it is printable
    /// ASCII of at most 256 bytes (a variable that a shell expands is no place for anything else).
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        let mut put = |name: &str, value: &str| {
            let plain = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if plain && value.len() <= LONGEST {
                all.push((name.to_owned(), value.to_owned()));
            }
        };
        put("HTTPS", "on");
        put("SSL_PROTOCOL", self.version);
        put("SSL_CIPHER", &self.suite);
        put("SSL_CIPHER_USEKEYSIZE", &self.key_bits.to_string());
        put("SSL_SESSION_RESUMED", if self.resumed { "Resumed" } else { "Initial" });
        if let Some(name) = &self.server_name {
            put("SSL_TLS_SNI", name);
        }
        if let Some(alpn) = &self.alpn {
            put("SSL_ALPN", &String::from_utf8_lossy(alpn));
        }
        put("SSL_CLIENT_VERIFY", if self.peer.is_some() { "SUCCESS" } else { "NONE" });
        let Some(peer) = &self.peer else { return all };
        put("SSL_CLIENT_S_DN", &peer.subject);
        put("SSL_CLIENT_I_DN", &peer.issuer);
        put("SSL_CLIENT_M_SERIAL", &peer.serial);
        // As mod_ssl counts them: each kind by itself.
        for (kind, at, value) in counted(peer) {
            put(&format!("SSL_CLIENT_SAN_{kind}_{at}"), &value);
        }
        all
    }
}

fn counted(peer: &Certificate) -> Vec<(&'static str, usize, String)> {
    use super::San;
    let mut counts = [0; 4];
    let mut next = |kind: usize| {
        counts[kind] += 1;
        counts[kind] - 1
    };
    let sans = peer.sans.iter().map(|san| match san {
        San::Dns(name) => ("DNS", next(0), name.clone()),
        San::Email(address) => ("Email", next(1), address.clone()),
        San::Uri(uri) => ("URI", next(2), uri.clone()),
        San::Ip(address) => ("IP", next(3), address.to_string()),
    });
    sans.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, San};
    use super::*;

    fn known() -> Known {
        let peer = Certificate {
            subject: "CN=alice".into(),
            issuer: "CN=authority".into(),
            serial: "01".into(),
            not_before_unix_s: 0,
            not_after_unix_s: 0,
            sans: vec![San::Dns("alice".into()), San::Uri("x:\n".into()), San::Dns("bob".into())],
        };
        let facts = Facts {
            version: "TLSv1.3",
            suite: "TLS_AES_256_GCM_SHA384".into(),
            key_bits: 256,
            group: None,
            alpn: Some(b"h2".to_vec()),
            server_name: Some("host".into()),
            resumed: false,
            peer: Some(peer),
            peer_chain: Vec::new(),
        };
        Known { facts: Some(facts), server_name: Some("host".into()), failure: Some(Failure::Truncated) }
    }

    #[test]
    fn a_record_tells_what_was_agreed_on_and_with_whom() {
        assert_eq!(
            known().told(Format::Human),
            " tls=TLSv1.3 suite=TLS_AES_256_GCM_SHA384 sni=\"host\" alpn=\"h2\" \
             client=\"DNS:alice,URI:x:\\n,DNS:bob\" why=\"the connection ended without close_notify: what was \
             received may be cut short\""
        );
        let json = known().told(Format::Json);
        assert!(
            json.starts_with(",\"tls\":{\"version\":\"TLSv1.3\"") && json.ends_with("\"resumed\":false}"),
            "{json}"
        );
    }

    #[test]
    fn variables_hold_nothing_that_could_hurt() {
        let all = known().facts.map(|facts| facts.variables()).unwrap_or_default();
        let value = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (value("SSL_CLIENT_SAN_DNS_0"), value("SSL_CLIENT_SAN_DNS_1")),
            (Some("alice"), Some("bob"))
        );
        assert_eq!((value("SSL_CLIENT_SAN_URI_0"), value("SSL_CLIENT_S_DN")), (None, Some("CN=alice")));
    }
}
