//! Who may come in, how many, how fast: the part of the command line that becomes an [`Admission`].

use super::Given;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_net::admission::{
    Access, Admission, Bound, HostsFiles, LoadBound, MemoryBound, Policy, RateBound, Span, Who, rate,
};
use switchboard_net::introduction::{Others, Upstream, Upstreams};
use switchboard_net::{Error, Rate, quantity};
use switchboard_proto::proxy_header::Versions;

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Admission")]
pub(crate) struct AdmissionArguments {
    /// Let in these clients, and no others: all, ADDRESS, ADDRESS/LENGTH, HOST, .DOMAIN, uid:N, gid:N
    #[arg(long, value_name = "CLIENT,…", value_delimiter = ',')]
    allow: Vec<Who>,

    /// Keep out these clients; the longest prefix decides between --allow and --deny
    #[arg(long, value_name = "CLIENT,…", value_delimiter = ',')]
    deny: Vec<Who>,

    /// Let clients in at this time of the day only, local time; past midnight if it ends before it begins
    #[arg(long, value_name = "HH:MM-HH:MM,…", value_delimiter = ',')]
    hours: Vec<Span>,

    /// Obey hosts.allow and hosts.deny (hosts_access(5)) of /etc or another directory, under this name
    #[arg(long, value_name = "DAEMON[:DIRECTORY]")]
    hosts_access: Option<String>,

    /// Obey these rules of tcprules(1): a database (.cdb) or its source
    #[arg(long, value_name = "PATH")]
    tcprules: Option<PathBuf>,

    /// Connections of one source at once (IPv4 address, IPv6 prefix, user)
    #[arg(long, value_name = "N", value_parser = quantity::count)]
    max_connections_per_source: Option<usize>,

    /// New connections per second, minute, hour or day, and how many at once
    #[arg(long, value_name = "N/UNIT[:BURST]", value_parser = rate)]
    rate: Option<Rate>,

    /// New connections of one source
    #[arg(long, value_name = "N/UNIT[:BURST]", value_parser = rate)]
    rate_per_source: Option<Rate>,

    /// Let nobody in while the load average of one minute is this or more
    #[arg(long, value_name = "LOAD")]
    max_load: Option<f64>,

    /// Let nobody in while less memory is free
    #[arg(long, value_name = "BYTES", value_parser = quantity::bytes)]
    min_memory: Option<usize>,

    /// Who comes beyond a limit: waits in the kernel's queue, is reset, is closed after the message, or is accepted
    /// and waits inside [default: queue; reset for limits of one source]
    #[arg(long, value_name = "queue|reset|close|delay:DURATION")]
    otherwise: Option<Policy>,

    /// What a client is sent who is refused with --otherwise close, or denied
    #[arg(long, value_name = "TEXT")]
    refusal: Option<String>,

    /// Length of the prefix by which IPv6 sources are told apart
    #[arg(long, value_name = "BITS", default_value = "64", value_parser = clap::value_parser!(u8).range(1..=128))]
    ipv6_prefix: u8,

    /// Clients come through the proxies of --proxy-from, which introduce them by a PROXY header of this version
    #[arg(long, value_enum, value_name = "VERSION", requires = "proxy_from")]
    accept_proxy: Option<ProxyVersions>,

    /// The proxies: addresses, prefixes, `unix`; from them the header is required, nobody else's bytes are looked at
    #[arg(long, value_name = "PROXY,…", value_delimiter = ',', requires = "accept_proxy")]
    proxy_from: Vec<Upstream>,

    /// Send those away who are none of the proxies
    #[arg(long, requires = "accept_proxy")]
    proxy_only: bool,

    /// Time for the header
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "3s")]
    proxy_timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum ProxyVersions {
    V1,
    V2,
    Any,
}

impl AdmissionArguments {
    /// The rules; `max_connections` bounds those of the service at once.
    pub(crate) fn admission(&self, max_connections: Option<usize>) -> Result<Admission, Error> {
        let policy = self.otherwise.unwrap_or_default();
        // One source cannot wait in the queue that others wait in as well.
        let of_source = if policy == Policy::Queue { Policy::Reset } else { policy };
        let bound = |most: usize, policy| Bound { most: u32::try_from(most).unwrap_or(u32::MAX), policy };
        let hosts = |given: &String| {
            let (daemon, directory) = given.split_once(':').unwrap_or((given, "/etc"));
            let directory = Path::new(directory);
            HostsFiles {
                allow: directory.join("hosts.allow"),
                deny: directory.join("hosts.deny"),
                daemon: daemon.to_owned(),
            }
        };
        if self.max_load.is_some_and(|load| !(load.is_finite() && load >= 0.0)) {
            return Err(Error::Config("--max-load: a load average is a number of 0 or more".into()));
        }
        Ok(Admission {
            access: Access {
                allow: self.allow.clone(),
                deny: self.deny.clone(),
                times: self.hours.clone(),
                hosts: self.hosts_access.as_ref().map(hosts),
                tcprules: self.tcprules.clone(),
                both_deny: false,
            },
            connections: max_connections.map(|most| bound(most, policy)),
            per_source: self.max_connections_per_source.map(|most| bound(most, of_source)),
            rate: self.rate.map(|rate| RateBound { rate, policy }),
            rate_per_source: self.rate_per_source.map(|rate| RateBound { rate, policy: of_source }),
            load: self.max_load.map(|most| LoadBound { most, policy }),
            memory: self.min_memory.map(|least| MemoryBound { least: least as u64, policy }),
            ipv6_prefix: Some(self.ipv6_prefix),
            message: self.refusal.as_ref().map(|text| format!("{text}\r\n").into_bytes()),
        })
    }

    /// The rules that are written in `--set`, and over them those that are given as options.
    pub(super) fn over(
        &self,
        written: &Admission,
        given: &Given,
        max_connections: Option<usize>,
    ) -> Result<Admission, Error> {
        let own = self.admission(max_connections)?;
        let who =
            ["allow", "deny", "hours", "hosts_access", "tcprules"].iter().any(|option| given.has(option));
        Ok(Admission {
            access: if who { own.access } else { written.access.clone() },
            connections: own.connections.or(written.connections),
            per_source: own.per_source.or(written.per_source),
            rate: own.rate.or(written.rate),
            rate_per_source: own.rate_per_source.or(written.rate_per_source),
            load: own.load.or(written.load),
            memory: own.memory.or(written.memory),
            ipv6_prefix: written.ipv6_prefix.filter(|_| !given.has("ipv6_prefix")).or(own.ipv6_prefix),
            message: own.message.or_else(|| written.message.clone()),
        })
    }

    /// Who introduces clients.
    pub(crate) fn upstreams(&self) -> Result<Option<Upstreams>, Error> {
        let Some(versions) = self.accept_proxy else { return Ok(None) };
        if self.proxy_timeout.is_zero() {
            return Err(Error::Config("--proxy-timeout 0: no header could ever be in time".into()));
        }
        Ok(Some(Upstreams {
            versions: match versions {
                ProxyVersions::V1 => Versions::V1,
                ProxyVersions::V2 => Versions::V2,
                ProxyVersions::Any => Versions::Any,
            },
            from: self.proxy_from.clone(),
            others: if self.proxy_only { Others::Refuse } else { Others::Serve },
            timeout: self.proxy_timeout,
        }))
    }

    /// Whether clients beyond a limit wait in the kernel's queue.
    pub(crate) fn queues(&self) -> bool {
        self.otherwise.unwrap_or_default() == Policy::Queue
    }
}
