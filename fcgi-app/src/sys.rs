//! The system calls std and socket2 do not offer.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::thread::JoinHandleExt;
use std::ptr;
use std::thread::JoinHandle;

/// The signal that makes a thread return from a system call: one that programs ignore by default and leave alone.
const INTERRUPT: libc::c_int = libc::SIGURG;

extern "C" fn do_nothing(_signal: libc::c_int) {}

/// Installs the handler of [`interrupt`]'s signal: one that does nothing, and does not restart system calls.
pub(crate) fn install_interrupt() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction: no flags (so no SA_RESTART), an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = do_nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` is valid and outlives the call; its handler only returns, which any signal handler may.
    match unsafe { libc::sigaction(INTERRUPT, &action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a thread of this process return from a blocking system call with EINTR, if it is in one.
pub(crate) fn interrupt(thread: &JoinHandle<()>) {
    // SAFETY: the id belongs to a thread that was not joined or detached, as its handle exists.
    unsafe { libc::pthread_kill(thread.as_pthread_t(), INTERRUPT) };
}
