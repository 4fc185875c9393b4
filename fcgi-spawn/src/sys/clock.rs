//! Clocks that go on after January 2038 on 32 bits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libc::c_long;

/// A `long` cannot hold today's seconds after January 2038, and std has the time from musl in such a one: it panics then.
const IS_SHORT: bool =
    cfg!(all(target_pointer_width = "32", not(any(target_arch = "x86_64", target_arch = "riscv32"))));

/// clock_gettime64(2), which libc does not list. It came with Linux 5.1, for all machines under the same number, to which
/// MIPS adds its own offset.
const CLOCK_GETTIME64: c_long = if cfg!(target_arch = "mips") { 4403 } else { 403 };

/// The time of day, counted from 1970.
pub(crate) fn time_of_day() -> Duration {
    if IS_SHORT {
        long_time().unwrap_or_else(short_time)
    } else {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// By the call of 64 bits; `None` if the kernel does not have it.
fn long_time() -> Option<Duration> {
    let mut time = [0_i64; 2];
    // SAFETY: room for the two numbers that the call writes.
    let done = unsafe { libc::syscall(CLOCK_GETTIME64, libc::CLOCK_REALTIME, time.as_mut_ptr()) };
    (done == 0).then(|| Duration::new(time[0].try_into().unwrap_or_default(), time[1] as u32))
}

/// By the call that every kernel has, with a `long`.
fn short_time() -> Duration {
    let mut time = [0 as c_long; 2];
    // SAFETY: room for the two numbers that the call writes.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, time.as_mut_ptr()) };
    // Without a sign, 32 bits last until 2106.
    Duration::new(u64::from(time[0] as u32), time[1] as u32)
}

/// What CLOCK_MONOTONIC says, by which systemd tells messages apart. It begins at the boot.
pub(crate) fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for what the call writes; every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clocks_tell_the_same_time() {
        let before = time_of_day();
        let same = |time: Duration| (before..before + Duration::from_secs(60)).contains(&time);
        assert!(before > Duration::from_secs(1_700_000_000), "{before:?}");
        assert!(same(short_time()), "{:?} after {before:?}", short_time());
        // x86_64 has no such call: 403 is a gap there.
        assert!(long_time().is_none_or(same), "{:?} after {before:?}", long_time());
    }
}
