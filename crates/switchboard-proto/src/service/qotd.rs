//! Quote of the day (RFC 865): one short message, then the end.

use super::{Board, Datagram, Example, OptionError, Over, Service, ServiceOption, Settings, TryIt};
use crate::random::Random;
use crate::session::{Flow, Io, Session};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

pub(super) const SERVICE: Service = Service {
    name: "qotd",
    summary: "sends a quote",
    source: "RFC 865",
    port: 17,
    board: Board { tcp: &[7017], udp: &[7017] },
    // A quote is longer than the datagram that asks for it: cut to the request, it cannot be aimed at others.
    datagram: Datagram::Bounded,
    options: &[ServiceOption {
        name: "quote",
        values: "TEXT",
        default: "",
        summary: "the quote to send, ASCII, at most 511 bytes with its line end; a choice of built-in ones if not given",
    }],
    try_it: TryIt { ask: "", show: "" },
    examples: &[
        Example {
            title: "a quote of your own; its line end is added",
            options: &[("quote", "Mind the gap.")],
            unix_s: 0,
            input: b"",
            output: b"Mind the gap.\r\n",
            over: Over::Stream,
        },
        Example {
            title: "several lines are sent as they are",
            options: &[("quote", "Mind\r\nthe gap.\r\n")],
            unix_s: 0,
            input: b"thrown away",
            output: b"Mind\r\nthe gap.\r\n",
            over: Over::Stream,
        },
        Example {
            title: "a datagram brings no more bytes than it took to ask",
            options: &[("quote", "Mind the gap.")],
            unix_s: 0,
            input: b"12345678",
            output: b"Mind the",
            over: Over::Datagram,
        },
        Example {
            title: "so a whole quote needs a datagram as long as the longest one, 511 bytes at most",
            options: &[("quote", "Mind the gap.")],
            unix_s: 0,
            input: &[0; 511],
            output: b"Mind the gap.\r\n",
            over: Over::Datagram,
        },
    ],
    make: |settings| {
        let own = own_quote(settings)?;
        Ok(Arc::new(move |start| {
            Box::new(match &own {
                Some(quote) => Qotd::Own(Arc::clone(quote)),
                None => Qotd::BuiltIn(QUOTES[Random::new(start.seed).below(QUOTES.len())]),
            })
        }))
    },
};

/// RFC 865: "less than 512 characters".
const MAX_QUOTE: usize = 511;

/// The built-in quotes, each with where it is from.
static QUOTES: &[&str] = &[
    "It Has To Work.\r\n    -- RFC 1925, truth 1\r\n",
    "No matter how hard you push and no matter what the priority,\r\n\
     you can't increase the speed of light.\r\n    -- RFC 1925, truth 2\r\n",
    "With sufficient thrust, pigs fly just fine. However, this is not\r\n\
     necessarily a good idea. It is hard to be sure where they are going\r\n\
     to land, and it could be dangerous sitting under them as they fly\r\n\
     overhead.\r\n    -- RFC 1925, truth 3\r\n",
    "It is easier to move a problem around (for example, by moving the\r\n\
     problem to a different part of the overall network architecture)\r\n\
     than it is to solve it.\r\n    -- RFC 1925, truth 6\r\n",
    "It is more complicated than you think.\r\n    -- RFC 1925, truth 8\r\n",
    "For all resources, whatever it is, you need more.\r\n    -- RFC 1925, truth 9\r\n",
    "In protocol design, perfection has been reached not when there is\r\n\
     nothing left to add, but when there is nothing left to take away.\r\n    -- RFC 1925, truth 12\r\n",
    "Be liberal in what you accept, and conservative in what you send.\r\n    -- RFC 1122, section 1.2.2\r\n",
    "Be conservative in what you do, be liberal in what you accept from\r\nothers.\r\n    -- RFC 793, section 2.10\r\n",
    "Avian carriers can provide high delay, low throughput, and low\r\naltitude service.\r\n    -- RFC 1149\r\n",
];

/// The quote that was configured, if any, with a line end.
fn own_quote(settings: &Settings<'_>) -> Result<Option<Arc<str>>, OptionError> {
    let text = settings.value("quote");
    if text.is_empty() {
        return Ok(None);
    }
    let error = |problem| Err(OptionError { name: String::from("quote"), problem });
    if let Some(other) = text.chars().find(|c| !matches!(c, ' '..='~' | '\r' | '\n')) {
        return error(format!("{other:?} is not allowed; use printing ASCII characters, CR and LF"));
    }
    let end = if text.ends_with('\n') { "" } else { "\r\n" };
    let length = text.len() + end.len();
    if length > MAX_QUOTE {
        return error(format!(
            "the quote has {length} bytes with its line end; at most {MAX_QUOTE} are allowed"
        ));
    }
    Ok(Some(Arc::from(format!("{text}{end}"))))
}

enum Qotd {
    Own(Arc<str>),
    BuiltIn(&'static str),
}

impl Session for Qotd {
    fn advance(&mut self, io: &mut Io<'_>) -> Flow {
        io.tx.push(match self {
            Qotd::Own(quote) => quote.as_bytes(),
            Qotd::BuiltIn(quote) => quote.as_bytes(),
        });
        Flow::Finish
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn built_in_quotes_keep_the_rules_of_configured_ones() {
        for quote in QUOTES {
            assert!(quote.contains("-- RFC") && quote.len() <= MAX_QUOTE, "{quote}");
            let recipe = SERVICE.recipe(&[("quote", quote)]);
            assert!(recipe.is_ok(), "{quote}: {}", recipe.err().unwrap());
        }
    }

    #[test]
    fn a_quote_that_breaks_the_rfc_is_refused_with_the_reason() {
        let problem = |quote: &str| SERVICE.recipe(&[("quote", quote)]).err().map(|e| e.to_string());
        assert_eq!(problem(&"x".repeat(509)), None);
        assert_eq!(problem(&("x".repeat(510) + "\n")), None);
        assert_eq!(
            problem(&"x".repeat(510)).unwrap(),
            "option quote: the quote has 512 bytes with its line end; at most 511 are allowed"
        );
        assert_eq!(
            problem("caf\u{e9}").unwrap(),
            "option quote: 'é' is not allowed; use printing ASCII characters, CR and LF"
        );
        assert!(problem("tab\there").unwrap().contains("'\\t'"));
    }
}
