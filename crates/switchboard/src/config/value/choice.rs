//! Words of which a key takes one.

use super::super::read::{Node, Reader, Value, list};
use serde::{Serialize, Serializer};
use switchboard_net::tls::Version;

/// One of several words.
macro_rules! one_of {
    ($(#[doc = $about:literal])* $name:ident: $values:literal { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $( $(#[doc = $doc])* $variant, )* }

        impl Value for $name {
            const VALUES: &'static str = $values;

            fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<$name> {
                match node.get_ref().as_str() {
                    $( Some($word) => Some($name::$variant), )*
                    Some(word) => reader.unknown(node, word, &[$( $word ),*]),
                    None => reader.wrong(node, format!("one of {}, in quotes", list(&[$( $word ),*]))),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self { $( $name::$variant => $word, )* })
            }
        }
    };
}

one_of! {
    /// Which descriptor a program gets, and when it is started.
    Mode: "\"nowait\", \"wait\" or \"per-datagram\"" {
        /// A process for each connection.
        Nowait = "nowait",
        /// One process gets the listener.
        Wait = "wait",
        /// A process for each datagram.
        PerDatagram = "per-datagram",
    }
}

one_of! {
    /// Where standard error goes.
    StandardError: "\"log\", \"client\" or \"null\"" {
        Log = "log",
        Client = "client",
        Null = "null",
    }
}

one_of! {
    /// What becomes of processes whose client has gone.
    Goodbye: "\"leave\", \"terminate\" or \"terminate-at-end\"" {
        Leave = "leave",
        Terminate = "terminate",
        TerminateAtEnd = "terminate-at-end",
    }
}

one_of! {
    /// A seccomp profile.
    Profile: "\"none\", \"service\" or \"strict\"" {
        None = "none",
        Service = "service",
        Strict = "strict",
    }
}

one_of! {
    /// How log records are written.
    Shape: "\"human\", \"logfmt\", \"json\" or \"none\"" {
        Human = "human",
        Logfmt = "logfmt",
        Json = "json",
        None = "none",
    }
}

one_of! {
    /// What of addresses is hidden.
    Masking: "\"nothing\", \"host\" or \"all\"" {
        Nothing = "nothing",
        Host = "host",
        All = "all",
    }
}

one_of! {
    /// Whether clients show a certificate.
    Showing: "\"none\", \"optional\" or \"required\"" {
        None = "none",
        Optional = "optional",
        Required = "required",
    }
}

one_of! {
    /// Versions of the PROXY header that are taken.
    ProxyVersions: "\"off\", \"v1\", \"v2\" or \"any\"" {
        Off = "off",
        V1 = "v1",
        V2 = "v2",
        Any = "any",
    }
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TlsVersion(pub(crate) Version);

impl Value for TlsVersion {
    const VALUES: &'static str = "\"1.2\" or \"1.3\"";

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<TlsVersion> {
        let all = Version::ALL.map(Version::name);
        match node.get_ref().as_str() {
            Some(word) => word.parse().ok().map(TlsVersion).or_else(|| reader.unknown(node, word, &all)),
            None => reader.wrong(node, format!("one of {}, in quotes", list(&all))),
        }
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

one_of! {
    /// What becomes of those who are no proxies.
    ProxyOthers: "\"serve\" or \"refuse\"" {
        Serve = "serve",
        Refuse = "refuse",
    }
}

one_of! {
    /// The version of the PROXY header that is sent.
    ProxyOut: "\"off\", \"v1\" or \"v2\"" {
        Off = "off",
        V1 = "v1",
        V2 = "v2",
    }
}
