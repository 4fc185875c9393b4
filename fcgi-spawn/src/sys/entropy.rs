//! Bytes that cannot be guessed.

use std::fs::File;
use std::io::Read;
use std::process;

use super::time_of_day;

/// A number that another process cannot guess, if the kernel gives us one without a wait.
pub(crate) fn unguessable() -> u64 {
    from_kernel().or_else(from_device).unwrap_or_else(|| {
        // Enough to differ: nothing relies on the number alone.
        time_of_day().as_nanos() as u64 ^ u64::from(process::id()).rotate_left(40)
    })
}

/// getrandom(2), since Linux 3.17.
fn from_kernel() -> Option<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: as much room as is said.
    let len = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK) };
    (len == 8).then(|| u64::from_ne_bytes(bytes))
}

fn from_device() -> Option<u64> {
    let mut bytes = [0_u8; 8];
    File::open("/dev/urandom").and_then(|mut device| device.read_exact(&mut bytes)).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_differ() {
        assert_ne!(unguessable(), unguessable());
        assert_ne!(from_device(), from_device());
        assert!(from_device().is_some());
    }
}
