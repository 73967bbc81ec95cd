//! What the wire costs: `cargo bench -p switchboard-lab --bench wire`.
//!
//! For each carrier and kind of packets: how much longer a byte there and back takes over the wire than over loopback of
//! one host (median); how much a delay that was asked for is exceeded (median and 99th percentile); TCP throughput.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use switchboard_lab::host::{Carrier, Host, Network, Packets};
use switchboard_lab::wire::{Act, Way};

/// Round trips on an idle wire, and with a delay of some milliseconds.
const ROUNDS: usize = 2000;
/// How long a stream is measured.
const STREAM: Duration = Duration::from_secs(1);
/// Delays each way, in microseconds.
const DELAYS_US: [u64; 4] = [500, 5_000, 25_000, 50_000];

fn main() -> io::Result<()> {
    let mode = switchboard_lab::mode::probe();
    let mut out = io::stdout().lock();
    if !mode.is_full() {
        return writeln!(out, "SKIPPED: {mode}");
    }
    writeln!(out, "mode: {mode}")?;
    for carrier in [Carrier::Tun, Carrier::Veth] {
        for packets in [Packets::Exact, Packets::Segmented] {
            let builder = Network::builder().carrier(carrier).packets(packets);
            let network = match builder.start(Box::new(|_| ())) {
                Ok(network) => network,
                Err(error) => {
                    writeln!(out, "SKIPPED {carrier:?} {packets:?}: {error}")?;
                    continue;
                }
            };
            measure(&mut out, &network, &format!("{carrier:?} {packets:?}"))?;
        }
    }
    Ok(())
}

/// Buffers for ten gigabits over ten milliseconds.
fn widen(host: &Host) -> io::Result<()> {
    host.set_sysctl("net.ipv4.tcp_rmem", "4096 4194304 67108864")?;
    host.set_sysctl("net.ipv4.tcp_wmem", "4096 4194304 67108864")
}

fn measure(out: &mut impl Write, network: &Network, what: &str) -> io::Result<()> {
    let [client, server] = network.hosts() else { return Err(io::Error::other("two hosts")) };
    widen(client)?;
    widen(server)?;
    let alone = percentiles(&round_trips(pair(server, server)?, ROUNDS)?);
    let idle = percentiles(&round_trips(pair(client, server)?, ROUNDS)?);
    writeln!(out, "{what}: round trip {:.0} µs, {:.0} µs more than loopback", idle.0, idle.0 - alone.0)?;
    for delay_us in DELAYS_US {
        let act = Act::impair(Way::ALL, "delay", &format!("{delay_us}us")).map_err(io::Error::other)?;
        network.wire().act(act);
        let rounds = (2_000_000 / delay_us as usize / 2).clamp(20, ROUNDS);
        let (median, p99) = percentiles(&round_trips(pair(client, server)?, rounds)?);
        let asked = 2.0 * delay_us as f64;
        writeln!(
            out,
            "{what}: delay {delay_us} µs each way: round trip +{:.0} µs (median), +{:.0} µs (99 %)",
            median - asked,
            p99 - asked
        )?;
    }
    network.wire().act(Act::heal(Way::ALL));
    writeln!(out, "{what}: {:.2} Gbit/s", throughput(pair(client, server)?)? / 1e9)?;
    network.wire().act(Act::impair(Way::ALL, "delay", "5ms").map_err(io::Error::other)?);
    writeln!(out, "{what}: {:.2} Gbit/s with 5 ms each way", throughput(pair(client, server)?)? / 1e9)
}

fn socket(host: &Host) -> io::Result<OwnedFd> {
    host.socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

fn pair(client: &Host, server: &Host) -> io::Result<(TcpStream, TcpStream)> {
    let address = server.address(false).ok_or_else(|| io::Error::other("no address"))?;
    let listener = socket(server)?;
    rustix::net::bind(&listener, &SocketAddr::new(address, 0))?;
    rustix::net::listen(&listener, 1)?;
    let listener = TcpListener::from(listener);
    let stream = TcpStream::from(socket(client)?);
    rustix::net::connect(&stream, &listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    for stream in [&stream, &other] {
        stream.set_nodelay(true)?;
    }
    Ok((stream, other))
}

/// Microseconds that each of some round trips took.
fn round_trips((mut near, mut far): (TcpStream, TcpStream), rounds: usize) -> io::Result<Vec<f64>> {
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        while far.read(&mut byte)? > 0 {
            far.write_all(&byte)?;
        }
        Ok(())
    });
    let mut took_us = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        near.write_all(b"!")?;
        near.read_exact(&mut [0])?;
        took_us.push(began.elapsed().as_secs_f64() * 1e6);
    }
    drop(near);
    echo.join().map_err(|_| io::Error::other("the echo panicked"))??;
    Ok(took_us)
}

/// Median and 99th percentile.
fn percentiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    (at(0.5), at(0.99))
}

/// Bits per second.
fn throughput((mut near, mut far): (TcpStream, TcpStream)) -> io::Result<f64> {
    let began = Instant::now();
    let writer = std::thread::spawn(move || -> io::Result<()> {
        let block = vec![0; 256 * 1024];
        while began.elapsed() < STREAM {
            near.write_all(&block)?;
        }
        Ok(())
    });
    let (mut total, mut block) = (0_u64, vec![0; 256 * 1024]);
    loop {
        match far.read(&mut block)? {
            0 => break,
            count => total += count as u64,
        }
    }
    writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
    Ok(total as f64 * 8.0 / began.elapsed().as_secs_f64())
}
