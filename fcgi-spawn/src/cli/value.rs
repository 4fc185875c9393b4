//! Values of options. A refusal says only why; the option and the value are put in front where both are known.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;
use std::time::Duration;

use crate::cli::duration;
use crate::error::{Error, invalid};
use crate::signals;

/// Stores a value that could be read.
pub(crate) fn set<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    value.map(|value| *field = value)
}

/// The same for a field that has no value by default.
pub(crate) fn some<T>(field: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    value.map(|value| *field = Some(value))
}

/// Stores a value that cannot be wrong, such as a path.
pub(crate) fn keep<T: From<OsString>>(field: &mut Option<T>, value: &OsStr) -> Result<(), String> {
    *field = Some(value.to_owned().into());
    Ok(())
}

pub(crate) fn number<T>(value: &OsStr, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let number = whole(value).filter(|number| range.contains(number));
    number.ok_or_else(|| format!("not a number from {} to {}", range.start(), range.end()))
}

pub(crate) fn ip(value: &OsStr) -> Result<IpAddr, String> {
    whole(value).ok_or_else(|| "not an IPv4 or IPv6 address".into())
}

pub(crate) fn count(value: &OsStr) -> Result<u32, String> {
    number(value, 0..=i32::MAX as u32)
}

/// Permissions of a file.
pub(crate) fn permissions(value: &OsStr) -> Result<u32, String> {
    let mode = value.to_str().and_then(|digits| u32::from_str_radix(digits, 8).ok());
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| "not an octal number from 0 to 0777".into())
}

/// `None` for `off`.
pub(crate) fn or_off<T>(value: &OsStr, read: impl FnOnce(&OsStr) -> Result<T, String>) -> Result<Option<T>, String> {
    if value == "off" { Ok(None) } else { read(value).map(Some) }
}

/// `None` for `off`.
pub(crate) fn time(value: &OsStr) -> Result<Option<Duration>, String> {
    or_off(value, |value| {
        let time = value.to_str().and_then(duration::parse);
        time.ok_or_else(|| "not a time like 200ms, 5s or 10m".into())
    })
}

/// 0 is `off`, too.
pub(crate) fn positive<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// A number of bytes, KiB, MiB or GiB.
pub(crate) fn size(value: &OsStr) -> Result<u64, String> {
    let read = |text: &str| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit: u64 = match &text[digits.len()..] {
            "" => 1,
            "K" | "k" => 1 << 10,
            "M" | "m" => 1 << 20,
            "G" | "g" => 1 << 30,
            _ => return None,
        };
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u64>().ok()?.checked_mul(unit)
    };
    value.to_str().and_then(read).ok_or_else(|| "not a size like 500K, 64M or 1G".into())
}

/// `TERM`, `SIGTERM` or `15`.
pub(crate) fn signal(value: &OsStr) -> Result<i32, String> {
    let named = |text: &str| {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        (1..=libc::SIGRTMAX()).find(|signal| signals::name(*signal).strip_prefix("SIG") == Some(name))
    };
    let number = whole(value).filter(|number| (1..=libc::SIGRTMAX()).contains(number));
    number.or_else(|| value.to_str().and_then(named)).ok_or_else(|| "not a signal".into())
}

/// The value as a `T`, if it is one from its first byte to its last.
fn whole<T: FromStr>(value: &OsStr) -> Option<T> {
    value.to_str()?.parse().ok()
}

/// `option` is where the string comes from, for the error.
pub(crate) fn c_string(option: &str, string: impl Into<OsString>) -> Result<CString, Error> {
    CString::new(string.into().into_vec())
        .map_err(|error| invalid(option, OsStr::from_bytes(&error.into_vec()), "has a NUL inside"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_in_range() {
        let port = |value: &str| number(value.as_ref(), 1..=u16::MAX);
        assert_eq!((port("1"), port("65535")), (Ok(1), Ok(65535)));
        for value in ["0", "65536", "-1", "80x", "0x50", " 80", ""] {
            assert_eq!(port(value), Err("not a number from 1 to 65535".into()), "{value:?}");
        }
        assert_eq!((count("0".as_ref()), count("2147483647".as_ref())), (Ok(0), Ok(i32::MAX as u32)));
        for value in ["-1", "x", "4x", "2147483648"] {
            assert_eq!(count(value.as_ref()), Err("not a number from 0 to 2147483647".into()), "{value:?}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        for (value, mode) in [("0660", 0o660), ("777", 0o777), ("0", 0)] {
            assert_eq!(permissions(value.as_ref()), Ok(mode));
        }
        for value in ["1000", "888", "0x1ff", "rw", "-1", ""] {
            assert_eq!(permissions(value.as_ref()), Err("not an octal number from 0 to 0777".into()), "{value:?}");
        }
    }

    #[test]
    fn a_size_has_a_unit() {
        for (value, bytes) in [("0", 0), ("500", 500), ("500K", 500 << 10), ("64m", 64 << 20), ("1G", 1 << 30)] {
            assert_eq!(size(value.as_ref()), Ok(bytes));
        }
        for value in ["64X", "-1", "K", "", "1 K", "99999999999G", "1.5M"] {
            assert_eq!(size(value.as_ref()), Err("not a size like 500K, 64M or 1G".into()), "{value:?}");
        }
    }

    #[test]
    fn a_signal_is_a_name_or_a_number() {
        for (value, number) in [("INT", libc::SIGINT), ("sigquit", libc::SIGQUIT), ("10", 10)] {
            assert_eq!(signal(value.as_ref()), Ok(number));
        }
        for value in ["HELLO", "0", "-1", "1000", "SIG", ""] {
            assert_eq!(signal(value.as_ref()), Err("not a signal".into()), "{value:?}");
        }
    }

    #[test]
    fn a_time_may_be_off() {
        assert_eq!(time("off".as_ref()), Ok(None));
        assert_eq!(time("0s".as_ref()), Ok(Some(Duration::ZERO)));
        assert_eq!(time("200ms".as_ref()), Ok(Some(Duration::from_millis(200))));
        assert_eq!(time("soon".as_ref()), Err("not a time like 200ms, 5s or 10m".into()));
    }

    #[test]
    fn a_string_for_the_kernel_has_no_nul() {
        assert_eq!(c_string("-c", "/a").ok(), Some(c"/a".into()));
        let message = c_string("-c", "/a\0b").expect_err("a NUL").to_string();
        assert_eq!(message, r"-c '/a\u{0}b': has a NUL inside");
    }
}
