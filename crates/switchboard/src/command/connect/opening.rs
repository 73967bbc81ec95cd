//! [`Opened`]: an end that is open, and how it came to be.

use super::end::{End, Spot};
use super::layers::Pair;
use super::program::Program;
use super::report::{Agreed, exit_for_dialling};
use super::task::{Doors, Task, failed};
use crate::exit::Exit;
use crate::report::Output;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use switchboard_net::dial::{Attempt, DialError, dial, dial_more};
use switchboard_net::sys::inherited;
use switchboard_net::{Address, Channel, Error, Kind};

/// An end that is open.
pub(super) struct Opened {
    pub(super) name: String,
    pub(super) what: What,
}

pub(super) enum What {
    /// Descriptors of this process, perhaps shared with others.
    Local { input: OwnedFd, output: OwnedFd },
    /// A connected socket.
    Socket {
        channel: Channel,
        companions: Vec<Channel>,
        program: Option<Program>,
        addressee: Option<SocketAddr>,
    },
}

impl Task {
    /// `client`: the two addresses of somebody who came to the other end.
    pub(super) fn open(
        &self,
        place: usize,
        doors: &mut Doors,
        client: Option<Pair>,
        out: &mut Output,
    ) -> Result<Opened, Exit> {
        let end = &self.ends[place];
        let opened = match end {
            End::Standard => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .and_then(standard_with)
                .map_err(|error| Error::system("duplicate standard input and output", error)),
            End::Descriptor(number) => open_descriptor(*number),
            End::Program(words) => Program::start(words).map(|(program, fd)| Opened {
                name: end.to_string(),
                what: What::Socket {
                    channel: Channel::plain(fd, Kind::Unix),
                    companions: Vec::new(),
                    program: Some(program),
                    addressee: None,
                },
            }),
            End::Listening(_) => match &mut doors[place] {
                None => Err(Error::Config(format!("{end} is not open"))),
                Some(door) => door.wait().map(|(channel, name)| {
                    if let Some(netcat) = &self.netcat {
                        out.aside(netcat.received(&name));
                    } else if self.verbose {
                        out.talk(format_args!("{name} has come"));
                    }
                    let what =
                        What::Socket { channel, companions: Vec::new(), program: None, addressee: None };
                    Opened { name, what }
                }),
            },
            End::Remote(remote) => return self.dial(remote, client, out),
        };
        opened.map_err(|error| failed(&error, out))
    }

    pub(super) fn dial(&self, remote: &Spot, client: Option<Pair>, out: &mut Output) -> Result<Opened, Exit> {
        let (verbose, silent, netcat) = (self.verbose, self.is_silent(), self.netcat.as_ref());
        let how = &self.dialing;
        let route = self.layers.route(remote, client, how).map_err(|error| failed(&error, out))?;
        let dialled = dial(route.first, how, &mut |attempt| match attempt {
            Attempt::Resolving(_) | Attempt::Waiting(_) if silent => {}
            Attempt::Resolving(name) => out.talk(format_args!("still looking up {name}")),
            Attempt::Waiting(address) => {
                out.talk(format_args!(
                    "still waiting for {address} to answer; it may take {:?}",
                    how.connect_timeout
                ));
            }
            Attempt::Failed(failure) if netcat.is_some() => {
                netcat.into_iter().for_each(|netcat| out.aside(netcat.unreached(failure)));
            }
            Attempt::Connected { to, .. } if netcat.is_some() => {
                let words = netcat.zip(to.inet()).map(|(netcat, inet)| netcat.connected(to.kind, inet));
                words.into_iter().for_each(|words| out.aside(words));
            }
            Attempt::Trying(address) if verbose => out.talk(format_args!("trying {address}")),
            Attempt::Failed(failure) if verbose => out.talk(failure),
            Attempt::Outrun { address, after } if verbose => {
                out.talk(format_args!("{address}: lost the race; given up after {after:.1?}"));
            }
            Attempt::Connected { to, from: Some(from) } if verbose => {
                out.talk(format_args!("connected to {to} from {from}"));
            }
            Attempt::Connected { to, from: None } if verbose => out.talk(format_args!("connected to {to}")),
            Attempt::Trying(_) | Attempt::Failed(_) | Attempt::Outrun { .. } | Attempt::Connected { .. } => {}
        });
        let more = self.connections - 1;
        let connected = dialled.and_then(|(socket, address)| {
            let companions = if more == 0 { Vec::new() } else { dial_more(&address, more, how)? };
            Ok((socket, companions, address))
        });
        let (fd, companions, address) = connected.map_err(|error| {
            // nc has told of each address.
            match route.proxy() {
                Some(proxy) => out.talk(format_args!("the proxy {proxy} is out of reach: {error}")),
                None if netcat.is_some() && matches!(error, DialError::Unreached { .. }) => {}
                None => out.talk(&error),
            }
            exit_for_dialling(&error)
        })?;
        let name = route.name(&address);
        let mut lay = |socket| {
            let laid = self.layers.lay(socket, address.kind, &name, &route, how.connect_timeout);
            laid.map_err(|trouble| {
                out.talk(&trouble);
                trouble.exit
            })
        };
        let channel = lay(fd)?;
        let companions = companions.into_iter().map(&mut lay).collect::<Result<_, _>>()?;
        if self.layers.is_insecure(remote) {
            out.talk(format_args!(
                "WARNING: --insecure: nobody has checked who {name} is, and whoever is in between can read and change \
                 everything"
            ));
        }
        if verbose && name != address.to_string() {
            out.talk(format_args!("connected to {name}"));
        }
        if let Some(facts) = channel.facts().filter(|_| verbose) {
            out.talk(Agreed(&facts));
        }
        if verbose && more > 0 {
            out.talk(format_args!("{} connections are open", more + 1));
        }
        let kind = address.kind;
        let unconnected = how.unconnected && kind.is_datagram();
        let name = if unconnected { format!("{name} (not connected)") } else { name };
        let addressee = address.inet().filter(|_| unconnected);
        Ok(Opened { name, what: What::Socket { channel, companions, program: None, addressee } })
    }
}

/// Standard output, and this as its input.
pub(super) fn standard_with(input: OwnedFd) -> io::Result<Opened> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Opened { name: "-".into(), what: What::Local { input, output } })
}

/// A descriptor that this process was started with: a connected socket, or anything else that can be read or written.
fn open_descriptor(number: i32) -> Result<Opened, Error> {
    let missing = || {
        Error::Config(format!(
            "descriptor {number} is not open: the shell opens it with `{number}<>FILE`, for example"
        ))
    };
    let fd = inherited::descriptor(number).ok_or_else(missing)?;
    let name = format!("fd:{number}");
    let what = match Address::of_descriptor(&fd) {
        Some(address) => What::Socket {
            channel: Channel::plain(fd, address.kind),
            companions: Vec::new(),
            program: None,
            addressee: None,
        },
        None => {
            let output = fd.try_clone().map_err(|error| Error::system(format!("duplicate {name}"), error))?;
            What::Local { input: fd, output }
        }
    };
    Ok(Opened { name, what })
}
