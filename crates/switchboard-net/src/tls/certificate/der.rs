//! As much of DER (X.690) as certificates need: tag, length, value. Every read is checked; nothing is allocated.

/// `[0]`, the version of a certificate.
pub(super) const VERSION: u8 = 0xa0;
pub(super) const ISSUER_ID: u8 = 0x81;
pub(super) const SUBJECT_ID: u8 = 0x82;
/// `[3]`, the extensions of a certificate.
pub(super) const EXTENSIONS: u8 = 0xa3;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What is still to be read.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value and its tag.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, mut rest) = rest.split_first()?;
        // Tags above 30 take more bytes; certificates have none.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let mut len = usize::from(short);
        if short & 0x80 != 0 {
            let bytes = usize::from(short & 0x7f);
            // Indefinite lengths are not DER, and no certificate needs more than three bytes.
            if !(1..=3).contains(&bytes) {
                return None;
            }
            let digits = rest.get(..bytes)?;
            len = digits.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = &rest[bytes..];
        }
        let value = rest.get(..len)?;
        self.0 = &rest[len..];
        Some((tag, value))
    }

    /// The next value, if it has this tag; otherwise nothing is taken.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, value) = ahead.next()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(value)
    }

    /// Passes over an optional value.
    pub(super) fn skip(&mut self, tag: u8) {
        let _ = self.take(tag);
    }

    pub(super) fn sequence(&mut self) -> Option<Der<'a>> {
        self.take(SEQUENCE).map(Der)
    }

    /// A date in either of its forms (RFC 5280 §4.1.2.5), as seconds since 1970.
    pub(super) fn time(&mut self) -> Option<i64> {
        let (tag, digits) = self.next()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let year = number(digits.get(..2)?)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
            }
            GENERALIZED_TIME => (number(digits.get(..4)?)?, digits.get(4..)?),
            _ => return None,
        };
        let [month, day, hour, minute, second] =
            [0, 2, 4, 6, 8].map(|at| rest.get(at..at + 2).and_then(number));
        let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, second?);
        if rest.get(10..)? != b"Z" || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01, in years that begin with March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_proto::{Civil, Random};

    #[test]
    fn dates_are_those_of_the_calendar() {
        let time = |tag, text: &[u8]| Der(&[&[tag, text.len() as u8], text].concat()).time();
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(UTC_TIME, b"500101000000Z"), Some(-631_152_000));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        for bad in [&b"7001010000Z"[..], b"700101000000", b"70010100000aZ", b"701301000000Z", b""] {
            assert_eq!(time(UTC_TIME, bad), None, "{}", bad.escape_ascii());
        }
        for days_since_1970 in (-200_000..200_000).step_by(17) {
            let civil = Civil::from_unix(days_since_1970 * 86_400);
            assert_eq!(days(civil.year, civil.month.into(), civil.day.into()), days_since_1970);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bad in
            [&[0x30][..], &[0x30, 5, 0], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0, 0, 0, 1, 0], &[0x1f, 1, 0]]
        {
            assert!(Der(bad).next().is_none(), "{bad:x?}");
        }
        assert_eq!(Der(&[0x30, 0x82, 0, 1, 7]).next(), Some((SEQUENCE, &[7][..])));
    }

    #[test]
    fn random_bytes_are_read_without_a_panic() {
        let mut random = Random::new(7);
        for _ in 0..20_000 {
            let len = random.below(40);
            let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            let mut der = Der(&bytes);
            while der.next().is_some() {}
            let _ = Der(&bytes).time();
        }
    }
}
