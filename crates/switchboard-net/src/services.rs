//! The services database (services(5)): which names a port has.

/// A line of the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The official name.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// The port.
    pub port: u16,
    /// `tcp`, `udp` and rarer ones.
    pub protocol: String,
}

/// The entries of this machine's database; none if it has no database.
pub fn entries() -> Vec<Entry> {
    parse(&std::fs::read_to_string("/etc/services").unwrap_or_default())
}

/// The entries for a port.
pub fn of_port(port: u16) -> Vec<Entry> {
    entries().into_iter().filter(|entry| entry.port == port).collect()
}

/// Text of the form `name port/protocol aliases… # comment`; lines that are none are left out.
fn parse(database: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned);
        let name = words.next()?;
        let at = words.next()?;
        let (port, protocol) = at.split_once('/')?;
        let (port, protocol) = (port.parse().ok()?, protocol.to_owned());
        Some(Entry { name, port, protocol, aliases: words.collect() })
    };
    database.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_read_line_by_line() {
        let entries = parse("# all\n\nhttp 80/tcp www # WWW\nbroken\nhttp x/tcp\ndomain 53/udp\n");
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!((entries[0].port, entries[0].aliases.as_slice()), (80, &["www".to_owned()][..]));
        assert_eq!((&*entries[1].name, &*entries[1].protocol), ("domain", "udp"));
    }
}
