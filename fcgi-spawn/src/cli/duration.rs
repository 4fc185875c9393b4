//! Durations as people write and read them: `200ms`, `5s`, `10m`, `1h`.

use std::fmt;
use std::time::Duration;

/// The longest duration an option takes: a year.
pub(crate) const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a whole number with a unit; without one it means seconds.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (duration <= MAX).then_some(duration)
}

/// A duration for a log line: one unit, rounded down, exact where that is short.
pub(crate) struct Human(pub(crate) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 if !self.0.is_zero() => write!(f, "{}ms", self.0.as_millis()),
            0..=599 => write!(f, "{seconds}s"),
            600..=35_999 => write!(f, "{}m", seconds / 60),
            36_000.. => write!(f, "{}h", seconds / 3_600),
        }
    }
}

/// A duration as it was configured.
pub(crate) struct Exact(pub(crate) Duration);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => Human(self.0).fmt(f),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, milliseconds: Option<u64>) {
        assert_eq!(parse(text), milliseconds.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn reads_every_unit() {
        check("200ms", Some(200));
        check("5s", Some(5_000));
        check("5", Some(5_000));
        check("10m", Some(600_000));
        check("1h", Some(3_600_000));
        check("0", Some(0));
    }

    #[test]
    fn refuses_what_is_not_a_whole_number_and_a_unit() {
        for text in ["", "s", "5x", "5 s", "-5s", "+5s", "1.5s", "5s ", "5ss", "5S", "0x5", "1m30s"] {
            check(text, None);
        }
    }

    #[test]
    fn ends_at_a_year() {
        check("8760h", Some(MAX.as_millis() as u64));
        check("8761h", None);
        check("18446744073709551615h", None);
        check("18446744073709551616", None);
    }

    #[test]
    fn is_written_in_one_unit() {
        let human = |milliseconds| Human(Duration::from_millis(milliseconds)).to_string();
        assert_eq!(human(0), "0s");
        assert_eq!(human(200), "200ms");
        assert_eq!(human(2_999), "2s");
        assert_eq!(human(599_000), "599s");
        assert_eq!(human(600_000), "10m");
        assert_eq!(human(36_000_000), "10h");
    }
}
