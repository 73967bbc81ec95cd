//! Parts of a plan as users write them: sizes, source addresses, processors.

use super::{MOST_BYTES, MOST_CONNECTIONS};
use crate::error::Error;
use crate::quantity;
use std::net::IpAddr;
use switchboard_proto::Sizes;

/// Most source addresses of one run.
pub const MOST_SOURCES: usize = 65_536;
/// Most sizes of a mix.
pub const MOST_MIXED: usize = 64;

/// `64`, `4KiB`, `uniform:64-4096`, `zipf:64-64KiB`, `mix:64*9,4KiB*1`.
///
/// # Errors
/// What is not a size, or a range that is none.
pub fn sizes(text: &str) -> Result<Sizes, Error> {
    let wrong = |what: &str| {
        let text = text.escape_default();
        Error::Config(format!(
            "size `{text}`: {what}; for example 64, 4KiB, uniform:64-4096, zipf:64-64KiB, mix:64*9,4KiB*1"
        ))
    };
    let bytes = |text: &str| match quantity::bytes(text.trim()) {
        Ok(bytes) if bytes <= MOST_BYTES => Ok(bytes),
        Ok(bytes) => Err(wrong(&format!("{bytes} bytes are more than {MOST_BYTES}"))),
        Err(error) => Err(error),
    };
    let range = |text: &str| {
        let (least, most) = text.split_once('-').ok_or_else(|| wrong("a range is LEAST-MOST"))?;
        let (least, most) = (bytes(least)?, bytes(most)?);
        if least == 0 || least > most {
            return Err(wrong("a range goes from 1 or more to as many or more"));
        }
        Ok((least, most))
    };
    match text.split_once(':') {
        None => Ok(Sizes::Fixed(bytes(text)?)),
        Some(("uniform", text)) => range(text).map(|(least, most)| Sizes::Uniform(least, most)),
        Some(("zipf", text)) => range(text).map(|(least, most)| Sizes::Zipf(least, most)),
        Some(("mix", text)) => {
            let one = |text: &str| {
                let (size, weight) = text.split_once('*').unwrap_or((text, "1"));
                let weight =
                    weight.trim().parse::<u32>().ok().filter(|weight| (1..=1_000_000).contains(weight));
                let weight = weight.ok_or_else(|| wrong("a weight is 1 to 1,000,000"))?;
                Ok((bytes(size)?, weight))
            };
            let mix = text.split(',').map(one).collect::<Result<Vec<_>, Error>>()?;
            if mix.len() > MOST_MIXED || mix.iter().any(|(size, _)| *size == 0) {
                return Err(wrong(&format!("a mix has at most {MOST_MIXED} sizes, each of 1 byte or more")));
            }
            Ok(Sizes::Mix(mix.into()))
        }
        Some((name, _)) => Err(wrong(&format!("`{}` is not a distribution", name.escape_default()))),
    }
}

/// Sizes as they are written.
pub fn sizes_written(sizes: &Sizes) -> String {
    match sizes {
        Sizes::Fixed(size) => size.to_string(),
        Sizes::Uniform(least, most) => format!("uniform:{least}-{most}"),
        Sizes::Zipf(least, most) => format!("zipf:{least}-{most}"),
        Sizes::Mix(mix) => {
            let parts: Vec<String> = mix.iter().map(|(size, weight)| format!("{size}*{weight}")).collect();
            format!("mix:{}", parts.join(","))
        }
    }
}

/// `127.0.0.1`, `127.0.0.1-127.0.0.40`, `::1`, several of them with commas.
///
/// # Errors
/// What is not an address or not a range, and too many.
pub fn sources(text: &str) -> Result<Vec<IpAddr>, Error> {
    let wrong = |what: &str| {
        let text = text.escape_default();
        Error::Config(format!(
            "sources `{text}`: {what}; for example 127.0.0.1-127.0.0.40, or 10.0.0.1,10.0.0.7"
        ))
    };
    let mut sources = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong("that is not an address"));
        let (first, last) = (address(first)?, address(last)?);
        let (from, to) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (u128::from(u32::from(first)), u128::from(u32::from(last)))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first), u128::from(last)),
            _ => return Err(wrong("a range is of one family")),
        };
        if from > to || to - from >= (MOST_SOURCES - sources.len()) as u128 {
            return Err(wrong(&format!(
                "a range goes upwards, and there are at most {MOST_SOURCES} addresses"
            )));
        }
        sources.extend((from..=to).map(|n| match first {
            IpAddr::V4(_) => IpAddr::V4((n as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(n.into()),
        }));
    }
    Ok(sources)
}

/// `50`, `10k`: how many connections.
///
/// # Errors
/// What is not a number, or too many.
pub fn connections(text: &str) -> Result<usize, Error> {
    let count = quantity::count(text)?;
    if (1..=MOST_CONNECTIONS).contains(&count) {
        return Ok(count);
    }
    Err(Error::Config(format!("{count} connections: it must be 1 to {MOST_CONNECTIONS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["64", "uniform:64-4096", "zipf:64-65536", "mix:64*9,4096*1", "0"] {
            assert_eq!(sizes_written(&sizes(text).unwrap()), text);
        }
        assert_eq!(sizes("4KiB").unwrap(), Sizes::Fixed(4_096));
        for bad in
            ["", "x", "uniform:5", "uniform:9-5", "uniform:0-5", "gauss:1-2", "mix:", "mix:5*0", "17MiB"]
        {
            assert!(sizes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sources_are_ranges() {
        assert_eq!(sources("127.0.0.1-127.0.0.40").unwrap().len(), 40);
        assert_eq!(sources("127.0.0.255-127.0.1.0,::1").unwrap().len(), 3);
        for bad in ["", "localhost", "127.0.0.2-127.0.0.1", "127.0.0.1-::1", "10.0.0.0-10.255.255.255"] {
            assert!(sources(bad).is_err(), "{bad}");
        }
    }
}
