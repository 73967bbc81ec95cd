//! NetBSD's newer form of an entry, in which each setting has its name.

use super::super::Family;
use super::super::keys::{self, Keys};
use super::super::lines::Word;
use super::{Entries, Entry, Limits, Socket, Transport};
use crate::config::notes;
use crate::config::source::Span;

impl Entries<'_> {
    pub(super) fn keys(&mut self, keys: Keys) -> Option<Entry> {
        if !keys.whole {
            return None;
        }
        let (addresses, service) = self.service(keys.service)?;
        let mut addresses = addresses.unwrap_or_else(|| self.default_addresses.clone());
        let mut limits = Limits::default();
        let (mut socket, mut transport, mut wait) = (None, None, None);
        let (mut user, mut group, mut program) = (None, None, None);
        let (mut buffers, mut arguments, mut filter) = (Vec::new(), Vec::new(), false);
        let mut seen: Vec<String> = Vec::new();
        for (key, values) in keys.pairs {
            if seen.contains(&key.text) {
                self.problem(key.span, format!("`{}` is given twice", key.text));
                continue;
            }
            seen.push(key.text.clone());
            let single = match values.as_slice() {
                [one] => one.clone(),
                _ if key.text == "args" || key.text == keys::IPSEC || key.text == "acceptfilter" => {
                    key.clone()
                }
                _ => {
                    self.problem(key.span, format!("`{}` has one value", key.text.escape_debug()));
                    continue;
                }
            };
            let text = single.text.as_str();
            match key.text.as_str() {
                "bind" => addresses = if text == "*" { Vec::new() } else { vec![text.to_owned()] },
                "socktype" => socket = Some(self.socket_name(&single, text)),
                "accept_max" => limits.at_once = self.number(&single, text),
                "acceptfilter" => filter = true,
                "protocol" => transport = Some(self.transport(&single, text)),
                "sndbuf" => buffers.extend(self.size(&single, text).map(|size| ("sndbuf", size))),
                "recvbuf" => buffers.extend(self.size(&single, text).map(|size| ("rcvbuf", size))),
                "wait" => {
                    wait = match text {
                        "yes" => Some(true),
                        "no" => Some(false),
                        _ => {
                            self.problem(single.span, "expected `yes` or `no`");
                            Some(false)
                        }
                    }
                }
                "service_max" => limits.per_minute = self.number(&single, text),
                "ip_max" => limits.per_source_minute = self.number(&single, text),
                "user" => user = Some(single),
                "group" => group = Some(text.to_owned()),
                "exec" => program = Some(single),
                "args" => arguments = values.into_iter().map(|word| word.text).collect(),
                keys::IPSEC => self.found.note(&notes::INETD_IPSEC, key.span, ""),
                _ => {
                    let near = crate::config::complaint::near(&key.text, keys::NAMES);
                    let help = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    self.problem(key.span, format!("`{}` is not a key{help}", key.text.escape_debug()));
                }
            }
        }
        let span = keys.span;
        // Without `protocol`, the address decides; a service with `exec` needs a user, one without is internal.
        let socket = self.required(socket, span, "socktype").unwrap_or(Socket::Other);
        let v6 = addresses.first().is_some_and(|address| address.contains(':'));
        let family = if v6 { Family::V6 } else { Family::V4 };
        let transport = transport.unwrap_or(match socket {
            _ if service.text.starts_with('/') => Transport::Unix,
            Socket::Datagram => Transport::Udp(family),
            _ => Transport::Tcp(family),
        });
        let wait = wait.unwrap_or(socket == Socket::Datagram);
        let inside = program.is_none();
        let program = program.unwrap_or(Word { text: "internal".into(), span: service.span });
        let nobody = || Word { text: "root".into(), span };
        let user = if inside {
            user.unwrap_or_else(nobody)
        } else {
            self.required(user, span, "user").unwrap_or_else(nobody)
        };
        let arguments = self.arguments(&program, arguments);
        let (mux, file, name) = self.name(service, transport);
        Some(Entry {
            span,
            off: !keys.on,
            addresses,
            name,
            mux,
            file,
            socket,
            transport,
            buffers,
            filter,
            wait,
            limits,
            user,
            group,
            program,
            arguments,
        })
    }

    fn required<T>(&mut self, value: Option<T>, span: Span, key: &str) -> Option<T> {
        if value.is_none() {
            self.problem(span, format!("`{key}` is missing"));
        }
        value
    }
}
