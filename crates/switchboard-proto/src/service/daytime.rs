//! Daytime (RFC 867): one line with the date and the time of day, then the end.

use super::{Board, Datagram, Example, OptionError, Over, Service, ServiceOption, Settings, TryIt};
use crate::session::{Flow, Io, Session};
use crate::time::Wall;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::{self, Write};

pub(super) const SERVICE: Service = Service {
    name: "daytime",
    summary: "tells the date and the time of day in one line",
    source: "RFC 867",
    port: 13,
    board: Board { tcp: &[7013, 7654], udp: &[7013] },
    datagram: Datagram::Fixed(64),
    options: &[ServiceOption {
        name: "format",
        values: "rfc867|ctime",
        default: "rfc867",
        summary: "`21 NOV 2026 02:43:02 UTC` as RFC 867 suggests, or `Sat Nov 21 02:43:02 2026` as ctime(3) has it",
    }],
    try_it: TryIt { ask: "", show: "" },
    examples: &[
        Example {
            title: "day, month, year, time, zone",
            options: &[],
            unix_s: 1_795_228_982,
            input: b"",
            output: b"21 NOV 2026 02:43:02 UTC\r\n",
            over: Over::Both,
        },
        Example {
            title: "whatever is sent is thrown away",
            options: &[],
            unix_s: 0,
            input: b"what time is it?\r\n",
            output: b"01 JAN 1970 00:00:00 UTC\r\n",
            over: Over::Both,
        },
        Example {
            title: "the form of ctime(3)",
            options: &[("format", "ctime")],
            unix_s: 1_795_228_982,
            input: b"",
            output: b"Sat Nov 21 02:43:02 2026\r\n",
            over: Over::Both,
        },
        Example {
            title: "which pads the day of the month with a space",
            options: &[("format", "ctime")],
            unix_s: 949_532_399,
            input: b"",
            output: b"Wed Feb  2 22:59:59 2000\r\n",
            over: Over::Both,
        },
    ],
    make: |settings| {
        let format = Format::new(settings)?;
        Ok(Arc::new(move |start| Box::new(Daytime { format, wall: start.wall })))
    },
};

#[derive(Clone, Copy)]
enum Format {
    /// The short form that RFC 867 suggests, with all four digits of the year. Scanners know it, on every day of
    /// the month.
    Rfc867,
    /// What the daytime servers of C programming courses send.
    Ctime,
}

impl Format {
    fn new(settings: &Settings<'_>) -> Result<Format, OptionError> {
        match settings.value("format") {
            "rfc867" => Ok(Format::Rfc867),
            "ctime" => Ok(Format::Ctime),
            _ => Err(settings.bad("format")),
        }
    }

    fn write(self, wall: &Wall, to: &mut impl Write) -> fmt::Result {
        let c = wall.civil();
        match self {
            Format::Rfc867 => {
                write!(to, "{:02} ", c.day)?;
                c.month_name().chars().try_for_each(|letter| to.write_char(letter.to_ascii_uppercase()))?;
                write!(to, " {:04} {:02}:{:02}:{:02} {}\r\n", c.year, c.hour, c.minute, c.second, wall.zone)
            }
            Format::Ctime => write!(
                to,
                "{} {} {:2} {:02}:{:02}:{:02} {:4}\r\n",
                c.weekday_name(),
                c.month_name(),
                c.day,
                c.hour,
                c.minute,
                c.second,
                c.year
            ),
        }
    }
}

struct Daytime {
    format: Format,
    wall: Wall,
}

impl Session for Daytime {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        match self.format.write(&self.wall, &mut io.tx) {
            Ok(()) => Flow::Finish,
            // The output queue takes everything; there is nothing else that could fail.
            Err(fmt::Error) => Flow::Abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Zone;
    use alloc::string::String;

    fn line(format: Format, wall: Wall) -> String {
        let mut line = String::new();
        format.write(&wall, &mut line).unwrap();
        line
    }

    #[test]
    fn the_local_zone_is_told() {
        let wall = Wall { unix_s: 1_795_228_982, offset_s: 19_800, zone: Zone::new(b"IST") };
        assert_eq!(line(Format::Rfc867, wall), "21 NOV 2026 08:13:02 IST\r\n");
        assert_eq!(line(Format::Ctime, wall), "Sat Nov 21 08:13:02 2026\r\n");
    }

    #[test]
    fn every_clock_fits_one_short_line() {
        for unix_s in [i64::MIN, -62_135_596_800, -1, 0, 253_402_300_800, i64::MAX] {
            for offset_s in [i32::MIN, 0, i32::MAX] {
                let wall = Wall { unix_s, offset_s, zone: Zone::new(b"LONGNAME") };
                for format in [Format::Rfc867, Format::Ctime] {
                    let line = line(format, wall);
                    assert!(line.len() <= 64, "{line:?}");
                    assert!(
                        line.ends_with("\r\n") && line.trim_end().bytes().all(|b| (b' '..=b'~').contains(&b))
                    );
                }
            }
        }
    }
}
