//! Signals: what the caller had set, and what we set ourselves.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the caller ignored SIGPIPE. Rust ignores it before `main`, so `main` is too late to look.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// The C library runs this before Rust's own start-up code. Miri would, too, and has no sigaction.
#[cfg(not(miri))]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn look() {
        SIGPIPE_WAS_IGNORED.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
    }
    look
};

/// What the caller had ignored and blocked: the way a program that replaces us expects to find it.
pub(crate) struct CallerSignals {
    ignored: libc::sigset_t,
    mask: libc::sigset_t,
}

impl CallerSignals {
    /// To be called before any signal is handled or blocked.
    pub(crate) fn look() -> Self {
        let mut ignored = signal_set(libc::sigemptyset);
        for signal in 1..=libc::SIGRTMAX() {
            let was_ignored = match signal {
                libc::SIGPIPE => SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed),
                _ => is_ignored(signal),
            };
            if was_ignored {
                // SAFETY: an initialised set, and a number between the bounds.
                unsafe { libc::sigaddset(&mut ignored, signal) };
            }
        }
        let mask = set_mask(&signal_set(libc::sigfillset));
        set_mask(&mask);
        CallerSignals { ignored, mask }
    }

    /// What a predecessor has seen, as two sets with a bit for each signal from 1 on: ignored, blocked.
    pub(crate) fn from_bits(ignored: u64, mask: u64) -> Self {
        let set = |bits: u64| {
            let mut set = signal_set(libc::sigemptyset);
            for signal in (1..=libc::SIGRTMAX()).filter(|signal| bits >> (signal - 1) & 1 == 1) {
                // SAFETY: an initialised set, and a number between the bounds.
                unsafe { libc::sigaddset(&mut set, signal) };
            }
            set
        };
        CallerSignals { ignored: set(ignored), mask: set(mask) }
    }

    /// The two sets.
    pub(crate) fn bits(&self) -> (u64, u64) {
        let bits = |set: &libc::sigset_t| {
            // SAFETY: an initialised set, and a number between the bounds.
            let is_in = |signal: &c_int| unsafe { libc::sigismember(set, *signal) } == 1;
            (1..=libc::SIGRTMAX()).filter(is_in).fold(0, |bits, signal| bits | 1 << (signal - 1))
        };
        (bits(&self.ignored), bits(&self.mask))
    }

    /// The same, but with the default action and no block for `signal`.
    pub(crate) fn without(mut self, signal: c_int) -> Self {
        // SAFETY: an initialised set, and a signal's number.
        unsafe { libc::sigdelset(&mut self.ignored, signal) };
        // SAFETY: as above.
        unsafe { libc::sigdelset(&mut self.mask, signal) };
        self
    }

    /// What a child of ours has to do to have it so again.
    pub(crate) fn restoration(&self) -> Restoration {
        let action = |signal| {
            // SAFETY: an initialised set, and a number between the bounds.
            let ignored = unsafe { libc::sigismember(&self.ignored, signal) } == 1;
            // A handler that is still there ends with an exec, but what is ignored stays so.
            let differs = ignored || is_ignored(signal);
            differs.then_some((signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL }))
        };
        Restoration { actions: (1..=libc::SIGRTMAX()).filter_map(action).collect(), mask: self.mask }
    }
}

/// The few calls by which a child gets the signals of [`CallerSignals`] from what we have made of them.
pub(crate) struct Restoration {
    actions: Vec<(c_int, libc::sighandler_t)>,
    mask: libc::sigset_t,
}

impl Restoration {
    /// Does them. It allocates nothing.
    pub(crate) fn run(&self) {
        for (signal, action) in &self.actions {
            // SAFETY: no handler is installed. What the kernel or libc keeps for itself is refused, and needs nothing.
            unsafe { libc::signal(*signal, *action) };
        }
        set_mask(&self.mask);
    }
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: nothing is changed, and `action` is the size the call writes.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == -1 {
        return false;
    }
    // SAFETY: written just now.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction == libc::SIG_IGN
}

/// Of children, only the end is reported: a worker is stopped for a moment now and then.
fn handle_by_default(signal: c_int) {
    // SAFETY: a struct of numbers, in which no handler is set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (libc::SIG_DFL, libc::SA_NOCLDSTOP);
    // SAFETY: an initialised action without a handler; the old one is not asked for.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

/// A descriptor from which these signals are read. They and `held`, and no others, are blocked from here on, and none of
/// them is ignored, or handled in another way.
pub(crate) fn signal_fd(signals: &[c_int], held: c_int) -> io::Result<OwnedFd> {
    let blocked = [signals, &[held]].concat();
    blocked.iter().for_each(|signal| handle_by_default(*signal));
    set_mask(&set_of(&blocked));
    let set = set_of(signals);
    // SAFETY: an initialised set.
    match unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: just opened, and nothing else owns it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// The next signal from such a descriptor, if there is one.
pub(crate) fn next_signal(fd: impl AsFd) -> Option<c_int> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of_val(&info);
    // SAFETY: room for the one structure that the call writes, or none.
    let read = unsafe { libc::read(fd.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if usize::try_from(read) != Ok(size) {
        return None;
    }
    // SAFETY: written just now.
    let info = unsafe { info.assume_init() };
    c_int::try_from(info.ssi_signo).ok()
}

/// Sees to it that children that end stay to be reaped, and can be waited for with [`wait_for_child`].
pub(crate) fn expect_children() {
    handle_by_default(libc::SIGCHLD);
    // SAFETY: an initialised set; what was blocked before is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set_of(&[libc::SIGCHLD]), ptr::null_mut()) };
}

/// Sleeps until a child ends or the time is over, whichever comes first, or a little less.
pub(crate) fn wait_for_child(timeout: Duration) {
    // At most a second, which fits in whatever the two fields are here.
    let timeout = timeout.min(Duration::from_secs(1));
    let timeout = libc::timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ };
    // SAFETY: both pointers are to initialised values that outlive the call; the details are not asked for.
    unsafe { libc::sigtimedwait(&set_of(&[libc::SIGCHLD]), ptr::null_mut(), &timeout) };
}

/// Signals that would end this process, held back so that it can first remove what it has made.
pub(crate) struct Held(Vec<c_int>);

impl Held {
    /// Holds those back that are neither blocked nor ignored by the caller.
    pub(crate) fn hold() -> Self {
        const ENDS: [c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
        let mut before = signal_set(libc::sigemptyset);
        // SAFETY: initialised sets that outlive the call.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set_of(&ENDS), &mut before) };
        // SAFETY: an initialised set, and a signal's number.
        let is_ours = |signal: &c_int| !is_ignored(*signal) && unsafe { libc::sigismember(&before, *signal) } == 0;
        Held(ENDS.into_iter().filter(is_ours).collect())
    }

    /// The first of them that has arrived.
    pub(crate) fn arrived(&self) -> Option<c_int> {
        let mut pending = signal_set(libc::sigemptyset);
        // SAFETY: an initialised set that outlives the call.
        unsafe { libc::sigpending(&mut pending) };
        // SAFETY: an initialised set, and a signal's number.
        self.0.iter().copied().find(|signal| unsafe { libc::sigismember(&pending, *signal) } == 1)
    }

    /// Lets those that have arrived end this process; returns if none has.
    pub(crate) fn release(&self) {
        // SAFETY: an initialised set; the caller does not want to know what was blocked before.
        unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set_of(&self.0), ptr::null_mut()) };
    }
}

fn set_of(signals: &[c_int]) -> libc::sigset_t {
    let mut set = signal_set(libc::sigemptyset);
    for signal in signals {
        // SAFETY: an initialised set, and a signal's number.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    set
}

fn signal_set(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `fill` is sigemptyset or sigfillset: they write the whole set and cannot fail.
    unsafe { fill(set.as_mut_ptr()) };
    // SAFETY: written just now.
    unsafe { set.assume_init() }
}

/// Sets the signal mask and returns what it was.
fn set_mask(mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = MaybeUninit::uninit();
    // SAFETY: `mask` is initialised, and `before` is the size the call writes.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, before.as_mut_ptr()) };
    // SAFETY: written just now: with SIG_SETMASK and valid pointers the call cannot fail.
    unsafe { before.assume_init() }
}
