//! What an administrator says by environment variables; docs/environment.md lists all of them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use crate::{Error, Listener, Result};

/// The mode that a unix socket is to have.
pub(crate) fn bind_mode() -> Result<u32> {
    const NAME: &str = "FCGI_BIND_MODE";
    let Some(text) = env::var_os(NAME) else { return Ok(Listener::MODE) };
    let mode = text.to_str().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let mode = mode.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|&mode| mode <= 0o777);
    mode.ok_or(Error::InvalidVariable(NAME, text, "a mode is three octal digits, such as 660"))
}

/// The number of the group that a unix socket is to have.
pub(crate) fn bind_group() -> Result<Option<u32>> {
    const NAME: &str = "FCGI_BIND_GROUP";
    let Some(text) = env::var_os(NAME) else { return Ok(None) };
    let number = text.to_str().and_then(|name| name.parse().ok());
    let number = number.or_else(|| group_number(&fs::read("/etc/group").unwrap_or_default(), text.as_bytes()));
    number.map(Some).ok_or(Error::InvalidVariable(NAME, text, "no group in /etc/group has this name"))
}

/// The number of a group in the text of group(5).
fn group_number(groups: &[u8], name: &[u8]) -> Option<u32> {
    groups.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        (fields.next()? == name).then(|| std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok())?
    })
}

/// How long a stop may take.
pub(crate) fn stop_timeout() -> io::Result<Option<Duration>> {
    const NAME: &str = "FCGI_STOP_TIMEOUT";
    let Some(text) = env::var_os(NAME) else { return Ok(None) };
    let time = text.to_str().and_then(time_of);
    let why = || {
        let text = Path::new(&text).display();
        format!("{NAME}='{text}': a time is a whole number with a unit, such as 1500ms, 10s or 1m, at most a day")
    };
    time.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, why()))
}

/// A time as people write it: a whole number with a unit; seconds without one.
fn time_of(text: &str) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(24 * 60 * 60);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    (time <= MOST).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let milliseconds = |text| time_of(text).map(|time| time.as_millis());
        for (text, want) in [("1500ms", 1500), ("2s", 2000), ("0", 0), ("3", 3000), ("1m", 60_000), ("24h", 86_400_000)]
        {
            assert_eq!(milliseconds(text), Some(want), "{text}");
        }
        for text in
            ["", "s", "-1", "1.5s", "1 s", "1d", "25h", "99999999999999999999", "18446744073709551615h", "\u{661}s"]
        {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn groups() {
        let groups = b"root:x:0:\nwww-data:x:33:ann,bob\nbad:x\nbad:x:y:\n";
        for (name, number) in [("root", Some(0)), ("www-data", Some(33)), ("www", None), ("bad", None), ("", None)] {
            assert_eq!(group_number(groups, name.as_bytes()), number, "{name}");
        }
    }
}
