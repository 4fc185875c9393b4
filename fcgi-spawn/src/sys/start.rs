//! Before `main`.

use libc::c_int;

/// The standard library reserves a stack for its report of a stack overflow, unless these signals have handlers, and ends
/// the process if the system has no memory for it at that moment. What we do without is that report.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

#[used]
// SAFETY: the C library calls what is in this section before `main`; it uses nothing that is not there yet.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    for signal in SIGNALS {
        // SAFETY: a handler that makes system calls only; no other thread runs.
        unsafe { libc::signal(signal, end as extern "C" fn(c_int) as libc::sighandler_t) };
    }
}

/// Ends the process as if there was no handler.
extern "C" fn end(signal: c_int) {
    // SAFETY: may be called by a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: may be called by a handler; the signal comes when this one returns.
    unsafe { libc::raise(signal) };
}
