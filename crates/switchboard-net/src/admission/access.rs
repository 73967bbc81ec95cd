//! [`Rules`]: who may come in. Lists, hours and files must all agree; what cannot be found out keeps a client out.

use super::hosts as hosts_files;
use super::hosts::Hosts;
use super::prefixes::Prefixes;
use super::reread::Reread;
use super::tcprules::TcpRules;
use super::{Access, HostsFiles, Span, Who};
use crate::error::Error;
use crate::peer::Peer;
use std::net::IpAddr;
use switchboard_proto::{Instant, Wall};

/// Who asks, and what is known of him.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    pub(super) peer: Peer,
    /// The primary group of a Unix peer.
    pub(super) gid: Option<u32>,
    pub(super) name: Name<'a>,
}

/// The host name of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name<'a> {
    /// Nobody has asked for it yet.
    Unasked,
    /// There is none, or asking failed.
    Unknown,
    /// There is one that does not lead back to the address.
    Forged,
    /// One that leads back to the address; lower case, without a dot at its end.
    Confirmed(&'a str),
}

/// What rules say of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// He may come in; his program is given these settings besides.
    Allow(Vec<(String, String)>),
    /// He may not, for this reason.
    Deny(&'static str),
    /// It depends on his name: ask for it, then ask again.
    AskName,
}

/// The rules of one service, ready to be applied.
#[derive(Debug)]
pub(super) struct Rules {
    allow: List,
    deny: List,
    both_deny: bool,
    times: Vec<Span>,
    hosts: Option<(Reread<Hosts>, Reread<Hosts>, String)>,
    tcprules: Option<Reread<TcpRules>>,
    /// What was found wrong with a file that has changed.
    complaints: Vec<String>,
}

/// One of the two lists.
#[derive(Debug, Default)]
struct List {
    empty: bool,
    all: bool,
    nets: Prefixes,
    uids: Vec<u32>,
    gids: Vec<u32>,
    hosts: Vec<String>,
    domains: Vec<String>,
}

/// How closely an item describes a client: one host or user; a prefix, by its length; a domain or group; all.
type Rank = u16;
const EXACT: Rank = 1_000;
const PREFIX: Rank = 10;
const KIN: Rank = 5;
const ALL: Rank = 0;

impl Rules {
    /// # Errors
    /// Files that cannot be read or hold what cannot be done.
    pub(super) fn new(access: &Access) -> Result<Rules, Error> {
        Ok(Rules {
            allow: List::new(&access.allow),
            deny: List::new(&access.deny),
            both_deny: access.both_deny,
            times: access.times.clone(),
            hosts: access.hosts.as_ref().map(hosts).transpose()?,
            tcprules: access
                .tcprules
                .as_ref()
                .map(|path| Reread::open(path, false, TcpRules::parse))
                .transpose()?,
            complaints: Vec::new(),
        })
    }

    /// Whether everybody may come in at any time.
    pub(super) fn are_none(access: &Access) -> bool {
        *access == Access { both_deny: access.both_deny, ..Access::default() }
    }

    /// Whether names may have to be looked up.
    pub(super) fn may_need_names(&self) -> bool {
        // Files may come to speak of names at any time.
        self.allow.has_names() || self.deny.has_names() || self.hosts.is_some() || self.tcprules.is_some()
    }

    /// What was found wrong with a file that has changed, once.
    pub(super) fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    pub(super) fn judge(&mut self, guest: &Guest<'_>, wall: Wall, now: Instant) -> Decision {
        if guest.peer == Peer::Unknown {
            return Decision::Deny("has left, and nobody knows who it was");
        }
        let minute = (wall.unix_s + i64::from(wall.offset_s)).rem_euclid(86_400) / 60;
        if !(self.times.is_empty() || self.times.iter().any(|span| span.holds(minute as u16))) {
            return Decision::Deny("not at this time of day");
        }
        match self.judge_by_lists(guest) {
            Decision::Allow(_) => self.judge_by_files(guest, now),
            other => other,
        }
    }

    /// Files speak of addresses and names; clients on Unix sockets and vsock have neither.
    fn judge_by_files(&mut self, guest: &Guest<'_>, now: Instant) -> Decision {
        let Peer::Inet(peer) = guest.peer else { return Decision::Allow(Vec::new()) };
        let address = peer.ip().to_canonical();
        let mut settings = Vec::new();
        if let Some((allow, deny, daemon)) = &mut self.hosts {
            let ((allow, first), (deny, second)) = (allow.at(now), deny.at(now));
            self.complaints.extend(first.into_iter().chain(second));
            match hosts_files::judge(allow, deny, daemon, address, guest.name) {
                Decision::Allow(more) => settings.extend(more),
                other => return other,
            }
        }
        if let Some(rules) = &mut self.tcprules {
            let (rules, complaint) = rules.at(now);
            self.complaints.extend(complaint);
            match rules.judge(address, guest.name) {
                Decision::Allow(more) => settings.extend(more),
                other => return other,
            }
        }
        Decision::Allow(settings)
    }

    fn judge_by_lists(&self, guest: &Guest<'_>) -> Decision {
        let (allow, deny) = (self.allow.rank(guest), self.deny.rank(guest));
        if guest.name == Name::Unasked
            && matches!(guest.peer, Peer::Inet(_))
            && (self.allow.may_rise_above(allow, deny) || self.deny.may_rise_above(deny, allow))
        {
            return Decision::AskName;
        }
        if !matches!(guest.name, Name::Confirmed(_) | Name::Unasked)
            && self.deny.has_names()
            && self.deny.may_rise_above(deny, allow)
        {
            return Decision::Deny("its name could not be confirmed");
        }
        match (allow, deny) {
            (Some(_), Some(_)) if self.both_deny => Decision::Deny("on both lists"),
            (Some(allow), Some(deny)) if allow > deny => Decision::Allow(Vec::new()),
            (_, Some(_)) => Decision::Deny("on the list of those who are kept out"),
            (Some(_), None) => Decision::Allow(Vec::new()),
            (None, None) if self.allow.empty => Decision::Allow(Vec::new()),
            (None, None) => Decision::Deny("not on the list of those who are let in"),
        }
    }
}

/// hosts_access(5): a file that is not there is an empty one.
fn hosts(files: &HostsFiles) -> Result<(Reread<Hosts>, Reread<Hosts>, String), Error> {
    let open = |path| Reread::open(path, true, Hosts::parse);
    Ok((open(&files.allow)?, open(&files.deny)?, files.daemon.clone()))
}

impl List {
    fn new(items: &[Who]) -> List {
        let mut list = List { empty: items.is_empty(), ..List::default() };
        for who in items {
            match who {
                Who::All => list.all = true,
                Who::Net(address, len) => list.nets.insert(*address, *len),
                Who::Uid(uid) => list.uids.push(*uid),
                Who::Gid(gid) => list.gids.push(*gid),
                Who::Name(name) => {
                    let name = name.trim_end_matches('.').to_ascii_lowercase();
                    if name.starts_with('.') { list.domains.push(name) } else { list.hosts.push(name) }
                }
            }
        }
        list
    }

    fn has_names(&self) -> bool {
        !(self.hosts.is_empty() && self.domains.is_empty())
    }

    /// How closely the list describes the guest, if it does.
    fn rank(&self, guest: &Guest<'_>) -> Option<Rank> {
        let all = self.all.then_some(ALL);
        let by_peer = match guest.peer {
            Peer::Inet(address) => self.nets.longest(address.ip()).map(|len| rank_of_net(address.ip(), len)),
            Peer::Unix { uid, .. } if self.uids.contains(&uid) => Some(EXACT),
            Peer::Unix { .. } => guest.gid.filter(|gid| self.gids.contains(gid)).map(|_| KIN),
            Peer::Vsock { .. } | Peer::Unknown => None,
        };
        let by_name = match guest.name {
            Name::Confirmed(name) if self.hosts.iter().any(|host| host == name) => Some(EXACT),
            Name::Confirmed(name) => self.domains.iter().any(|domain| name.ends_with(domain)).then_some(KIN),
            _ => None,
        };
        all.max(by_peer).max(by_name)
    }

    /// Whether a name in this list could change what `mine` and `theirs` say: they are the ranks without names.
    fn may_rise_above(&self, mine: Option<Rank>, theirs: Option<Rank>) -> bool {
        let highest = match (self.hosts.is_empty(), self.domains.is_empty()) {
            (true, true) => return false,
            (true, false) => KIN,
            (false, _) => EXACT,
        };
        // Already decided in this list's favour, or out of the reach of names.
        let decided = mine.is_some() && mine > theirs;
        !decided && Some(highest) >= theirs && Some(highest) > mine
    }
}

fn rank_of_net(address: IpAddr, len: u8) -> Rank {
    match (len, address) {
        (0, _) => ALL,
        (32, IpAddr::V4(_)) | (128, _) => EXACT,
        _ => PREFIX + Rank::from(len),
    }
}

impl Span {
    /// Whether a minute of the day, 0 to 1439, is within.
    pub fn holds(&self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..=self.to).contains(&minute)
        } else {
            minute >= self.from || minute <= self.to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Wall = Wall::utc(12 * 3_600);

    fn net(text: &str) -> Who {
        let (address, len) = text.split_once('/').unwrap();
        Who::Net(address.parse().unwrap(), len.parse().unwrap())
    }

    fn inet<'a>(address: &str, name: Name<'a>) -> Guest<'a> {
        Guest { peer: Peer::Inet((address.parse::<IpAddr>().unwrap(), 4_000).into()), gid: None, name }
    }

    fn judge(access: &Access, guest: &Guest<'_>) -> Decision {
        Rules::new(access).unwrap().judge(guest, NOON, Instant(0))
    }

    fn lets_in(access: &Access, address: &str) -> bool {
        judge(access, &inet(address, Name::Unknown)) == Decision::Allow(Vec::new())
    }

    #[test]
    fn the_longest_prefix_decides_and_deny_wins_a_tie() {
        let access = |allow: &[&str], deny: &[&str]| Access {
            allow: allow.iter().map(|text| net(text)).collect(),
            deny: deny.iter().map(|text| net(text)).collect(),
            ..Access::default()
        };
        for (allow, deny, address, expected) in [
            (&[][..], &[][..], "192.0.2.1", true),
            (&["10.0.0.0/8"], &[], "10.1.2.3", true),
            (&["10.0.0.0/8"], &[], "11.1.2.3", false),
            (&["10.0.0.0/8"], &[], "::ffff:10.1.2.3", true),
            (&[], &["10.0.0.0/8"], "10.1.2.3", false),
            (&[], &["10.0.0.0/8"], "11.1.2.3", true),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], "10.1.2.3", true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&["10.0.0.0/8"], &["10.0.0.0/8"], "10.1.2.3", false),
            (&["2001:db8::/32"], &["::/0"], "2001:db8::1", true),
            (&["2001:db8::/32"], &["::/0"], "2001:db9::1", false),
            (&["10.0.0.0/8"], &["192.0.2.0/24"], "198.51.100.1", false),
        ] {
            assert_eq!(lets_in(&access(allow, deny), address), expected, "{allow:?} {deny:?} {address}");
        }
        let both = Access { both_deny: true, ..access(&["10.1.2.3/32"], &["10.0.0.0/8"]) };
        assert!(!lets_in(&both, "10.1.2.3"));
        let one = Access { allow: vec![net("10.0.0.0/8")], deny: vec![Who::All], ..Access::default() };
        assert!(lets_in(&one, "10.0.0.1") && !lets_in(&one, "11.0.0.1"));
    }

    #[test]
    fn users_and_groups_of_this_machine() {
        let access =
            Access { allow: vec![Who::Uid(7), Who::Gid(50)], deny: vec![Who::Uid(8)], ..Access::default() };
        for (uid, gid, expected) in [(7, 1, true), (9, 50, true), (8, 50, false), (9, 1, false)] {
            let guest = Guest { peer: Peer::Unix { pid: 1, uid }, gid: Some(gid), name: Name::Unasked };
            assert_eq!(judge(&access, &guest) == Decision::Allow(Vec::new()), expected, "{uid} {gid}");
        }
        assert!(matches!(
            judge(&access, &Guest { peer: Peer::Unknown, gid: None, name: Name::Unasked }),
            Decision::Deny(_)
        ));
    }

    #[test]
    fn hours_may_go_past_midnight() {
        let night = Span { from: 22 * 60, to: 5 * 60 };
        for (hour, held) in [(22, true), (23, true), (0, true), (5, true), (6, false), (21, false)] {
            assert_eq!(night.holds(hour * 60), held, "{hour}");
        }
        assert!(!night.holds(5 * 60 + 1));
        let access = Access { times: vec![night], ..Access::default() };
        assert_eq!(
            judge(&access, &inet("10.0.0.1", Name::Unasked)),
            Decision::Deny("not at this time of day")
        );
    }

    #[test]
    fn names_are_asked_for_only_where_they_matter_and_failure_never_lets_in() {
        let name = |text: &str| Who::Name(text.to_owned());
        let access = Access { allow: vec![name("good.example"), net("10.0.0.0/8")], ..Access::default() };
        assert_eq!(judge(&access, &inet("10.0.0.1", Name::Unasked)), Decision::Allow(Vec::new()));
        assert_eq!(judge(&access, &inet("11.0.0.1", Name::Unasked)), Decision::AskName);
        assert!(matches!(judge(&access, &inet("11.0.0.1", Name::Unknown)), Decision::Deny(_)));
        assert!(matches!(judge(&access, &inet("11.0.0.1", Name::Forged)), Decision::Deny(_)));
        let good = Name::Confirmed("good.example");
        assert_eq!(judge(&access, &inet("11.0.0.1", good)), Decision::Allow(Vec::new()));
        let access = Access { deny: vec![name(".evil.example")], ..Access::default() };
        assert_eq!(judge(&access, &inet("11.0.0.1", Name::Unasked)), Decision::AskName);
        assert!(matches!(judge(&access, &inet("11.0.0.1", Name::Unknown)), Decision::Deny(_)));
        let evil = Name::Confirmed("host.evil.example");
        assert!(matches!(judge(&access, &inet("11.0.0.1", evil)), Decision::Deny(_)));
        assert_eq!(judge(&access, &inet("11.0.0.1", good)), Decision::Allow(Vec::new()));
    }
}
