//! A number in both byte orders, and what the other side makes of it when nobody converts.

use crate::report::{Fact, Row, Sheet};
use switchboard_net::Error;

/// The number that `text` is: decimal, 0x…, 0o… or 0b….
pub(super) fn read(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (digits, base) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        // With a leading 0 it is octal for some and decimal for others; inet_aton(3) at least is clear.
        _ if text.starts_with('0') && text.len() > 1 => return None,
        _ => (text.as_str(), 10),
    };
    // from_str_radix would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| u64::from_str_radix(digits, base).ok())?
}

pub(super) fn explain(text: &str) -> Result<Vec<Sheet>, Error> {
    let number = read(text).ok_or_else(|| {
        Error::Config(format!(
            "`{}` is not a number from 0 to {}: write it in decimal, 0x…, 0o… or 0b…",
            text.escape_default(),
            u64::MAX
        ))
    })?;
    let widths: Vec<u32> =
        [16, 32, 64].into_iter().filter(|bits| number.checked_shr(*bits).unwrap_or(0) == 0).collect();
    let mut sheet = Sheet::new("number", format!("{text}: a number"));
    sheet.add("decimal", number);
    sheet.add("hexadecimal", format!("{number:#x}"));
    sheet.add("octal", format!("{number:#o}"));
    sheet.add("binary", format!("{number:#b}"));
    sheet.add("this_machine", if cfg!(target_endian = "little") { "little-endian" } else { "big-endian" });
    if let Ok(short) = u16::try_from(number) {
        sheet.add("htons", u64::from(short.to_be()));
    }
    if let Ok(long) = u32::try_from(number) {
        sheet.add("htonl", u64::from(long.to_be()));
        sheet.add(
            "unconverted",
            format!(
                "sent as 32 bits without htonl, {long} is {} to a machine of the other order",
                long.swap_bytes()
            ),
        );
    }
    sheet.add("in_both_orders", orders(number, &widths));
    Ok(vec![sheet])
}

/// `number` in both byte orders at these widths, with what a machine of each order reads from the bytes.
pub(super) fn orders(number: u64, widths: &[u32]) -> Vec<Row> {
    let mut rows = Vec::new();
    for bits in widths {
        let big = &number.to_be_bytes()[8 - *bits as usize / 8..];
        let little = &number.to_le_bytes()[..*bits as usize / 8];
        let read = |bytes: &[u8]| bytes.iter().fold(0, |read, byte| read << 8 | u64::from(*byte));
        let swapped = read(little);
        let here = |is_ours| if is_ours { ", host order here" } else { "" };
        for (order, bytes, as_big, as_little) in [
            (format!("big-endian: network order{}", here(cfg!(target_endian = "big"))), big, number, swapped),
            (format!("little-endian{}", here(cfg!(target_endian = "little"))), little, swapped, number),
        ] {
            rows.push(vec![
                ("bits", Fact::from(u64::from(*bits))),
                ("order", order.into()),
                ("bytes", bytes_as_hex(bytes).into()),
                ("read_as_big_endian", as_big.into()),
                ("read_as_little_endian", as_little.into()),
            ]);
        }
    }
    rows
}

/// `7f 00 00 01`
pub(super) fn bytes_as_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_four_bases() {
        for (text, number) in [
            ("258", Some(258)),
            ("0x0102", Some(258)),
            ("0X102", Some(258)),
            ("0o402", Some(258)),
            ("0b100000010", Some(258)),
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("010", None),
            ("+1", None),
            ("0x+1", None),
            ("", None),
            ("0x", None),
            ("1é", None),
        ] {
            assert_eq!(read(text), number, "{text}");
        }
    }
}
