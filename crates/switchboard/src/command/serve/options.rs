//! The options of `serve`: which are for sockets and which for services.

use crate::plan::ServicePlan;
use switchboard_net::{Endpoint, SocketOption, SocketOptions};
use switchboard_proto::{AMPLIFY, Datagram, SERVICES, Service};

/// The options given, sorted into those of sockets and those of services.
pub(super) struct Options {
    sockets: Vec<(String, String)>,
    services: Vec<(String, String)>,
}

impl Options {
    pub(super) fn sort(given: &[String], services: &[String]) -> Result<Options, String> {
        let mut options = Options { sockets: Vec::new(), services: Vec::new() };
        for text in given {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("option `{text}`: write it as NAME=VALUE, for example nodelay=off"))?;
            let pair = (name.to_owned(), value.to_owned());
            if SocketOption::find(name).is_some() {
                options.sockets.push(pair);
            } else if chosen(services).any(|service| has_option(service, name)) {
                options.services.push(pair);
            } else {
                let known = known_options(services);
                let near =
                    known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                let hint = near.filter(|near| strsim::jaro(near, name) > 0.7);
                let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!(
                    "option `{name}` is neither one of sockets nor of the services served{hint} \
                     (`switchboard list options` shows all)"
                ));
            }
        }
        Ok(options)
    }

    /// The service options that `service` has.
    pub(super) fn of(&self, service: &Service) -> Vec<(&str, &str)> {
        let pairs = self.services.iter().filter(|(name, _)| has_option(service, name));
        pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The options of sockets.
    pub(super) fn sockets(&self) -> &[(String, String)] {
        &self.sockets
    }

    /// Every socket option must be valid, and apply to one of the sockets.
    pub(super) fn check_sockets(&self, services: &[ServicePlan]) -> Result<(), String> {
        let places = || services.iter().flat_map(|service| &service.listen);
        for (name, value) in &self.sockets {
            SocketOptions::default().set(name, value).map_err(|error| error.to_string())?;
            let applies = |at: &Endpoint| {
                SocketOption::find(name).is_some_and(|option| option.on.covers(at.kind, at.may_be_ipv6()))
            };
            if !places().any(|place| applies(&place.endpoint)) {
                return Err(format!("option {name}: it applies to none of the sockets served"));
            }
        }
        Ok(())
    }
}

pub(super) fn chosen(names: &[String]) -> impl Iterator<Item = &'static Service> {
    SERVICES.iter().filter(|service| names.is_empty() || names.iter().any(|name| name == service.name))
}

fn has_option(service: &Service, name: &str) -> bool {
    let amplifies = service.datagram == Datagram::Bounded && name == AMPLIFY.name;
    amplifies || service.options.iter().any(|option| option.name == name)
}

fn known_options(services: &[String]) -> Vec<&'static str> {
    let sockets = switchboard_net::SOCKET_OPTIONS.iter().map(|option| option.name);
    let services = chosen(services).flat_map(|service| service.options).map(|option| option.name);
    sockets.chain(services).chain([AMPLIFY.name]).collect()
}
