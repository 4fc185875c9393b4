//! Bytes that cannot be guessed.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::time_of_day;

/// A number that another process cannot guess: of the 16 random bytes that the kernel gives to each program at its start,
/// since Linux 2.6.29. getrandom(2) is newer than the kernels this runs on, and a chroot may have no /dev/urandom.
pub(crate) fn unguessable() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // SAFETY: a number goes in, a number comes out.
    let address = unsafe { libc::getauxval(libc::AT_RANDOM) };
    let bytes = match address {
        0 => [0; 16],
        // SAFETY: the kernel has put 16 bytes there for as long as the process lives.
        address => unsafe { std::ptr::read_unaligned(address as *const [u8; 16]) },
    };
    let secret = u128::from_ne_bytes(bytes) as u64;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let public = time_of_day().as_nanos() as u64 ^ u64::from(process::id()).rotate_left(40) ^ count.rotate_left(52);
    // SplitMix64's last step.
    let mut mixed = secret.wrapping_add(public.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_differ() {
        assert_ne!(unguessable(), unguessable());
    }
}
