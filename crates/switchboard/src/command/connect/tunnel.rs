//! The flags about what lies between us and the server, and what they come to.

use super::Arguments;
use super::end::End;
use super::layers::Layers;
use super::secret;
use clap::{Args, ValueEnum};
use switchboard_net::tunnel::Proxy;
use switchboard_net::{Error, Kind};

#[derive(Args, Debug)]
#[command(next_help_heading = "Through a proxy")]
pub(super) struct Tunnelling {
    /// Through this proxy: http://HOST:PORT (CONNECT), socks4://…, socks4a://…, socks5://…
    ///
    /// A user and a password go before the host: socks5://USER:PASSWORD@HOST:PORT, in them `%40` stands for `@` and `%3A`
    /// for `:`. Other users of this machine can see what is on a command line; a password that is left out is asked for on
    /// the terminal. PORT is 1080, or 3128 for http, unless it is written. The proxy looks names up, except for socks4. The
    /// options under "Connecting" are about the way to the proxy, and --connect-timeout bounds its answer as well.
    #[arg(long, value_name = "URL")]
    pub(super) proxy: Option<Proxy>,

    /// Begin with a header of the PROXY protocol: v1 (a line of text) or v2 (binary, with a checksum)
    ///
    /// It tells the server where the connection comes from: from us, or from the client of the other end if that one
    /// listens. It goes before TLS, and through --proxy. Only a server that waits for it understands it.
    #[arg(long, value_name = "VERSION")]
    pub(super) send_proxy: Option<Header>,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(super) enum Header {
    V1,
    V2,
}

impl Arguments {
    /// What lies between these ends and their conversation.
    pub(super) fn layers(&self, ends: &[End; 2]) -> Result<Layers, Error> {
        let tcp = |end: &End| matches!(end, End::Remote(remote) if remote.endpoint.kind == Kind::Tcp);
        let flags = &self.tunnelling;
        if flags.proxy.is_some() && !ends.iter().any(tcp) {
            return Err(Error::Config("--proxy is for TCP: proxies connect to nothing else".into()));
        }
        let stream = |end: &End| matches!(end, End::Remote(remote) if remote.endpoint.kind.is_stream());
        if flags.send_proxy.is_some() && !ends.iter().any(stream) {
            return Err(Error::Config("--send-proxy is for a stream that is connected to".into()));
        }
        self.check_tls(ends)?;
        let security = self.security(ends)?;
        let server = self.reception(ends)?;
        let mut proxy = flags.proxy.clone();
        if let Some(proxy) = proxy.as_mut().filter(|proxy| proxy.lacks_password()) {
            let user = proxy.user.as_deref().unwrap_or_default().escape_debug();
            proxy.password = Some(secret::ask(&format!("Password of {user} at the proxy {proxy}: "))?);
        }
        Ok(Layers { proxy, header: flags.send_proxy, security, server })
    }

    /// Nothing lies between us and ports that are only looked at.
    pub(super) fn check_bare(&self) -> Result<(), Error> {
        let flags = &self.tunnelling;
        if flags.proxy.is_some() || flags.send_proxy.is_some() {
            return Err(Error::Config(
                "--scan asks the ports themselves: without --proxy and --send-proxy".into(),
            ));
        }
        self.check_tls(&[End::Standard, End::Standard])
    }
}
