//! The flags about what lies between us and the server, and what they come to.

use super::Arguments;
use super::end::End;
use super::layers::Layers;
use super::secret;
use clap::Args;
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
}

impl Arguments {
    /// What lies between these ends and their conversation.
    pub(super) fn layers(&self, ends: &[End; 2]) -> Result<Layers, Error> {
        let Some(proxy) = &self.tunnelling.proxy else { return Ok(Layers::default()) };
        let tcp = |end: &End| matches!(end, End::Remote(endpoint) if endpoint.kind == Kind::Tcp);
        if !ends.iter().any(tcp) {
            return Err(Error::Config("--proxy is for TCP: proxies connect to nothing else".into()));
        }
        let mut proxy = proxy.clone();
        if proxy.lacks_password() {
            let user = proxy.user.as_deref().unwrap_or_default().escape_debug();
            proxy.password = Some(secret::ask(&format!("Password of {user} at the proxy {proxy}: "))?);
        }
        Ok(Layers { proxy: Some(proxy) })
    }
}
