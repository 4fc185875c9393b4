//! How many descriptors a process may have open.

use std::sync::OnceLock;

/// What a supervisor allows itself, if the administrator does: it needs up to four for each of the most workers.
const WANTED: libc::rlim_t = 8192;

/// What this process was allowed when it was started, if it allows itself more now.
static GIVEN: OnceLock<libc::rlim_t> = OnceLock::new();

/// Allows this process more, up to the hard limit. What it starts or becomes is allowed what it was itself at first: a
/// program that uses `select` relies on low numbers.
pub(crate) fn allow_descriptors() {
    if let Some(limit) = limit().filter(|limit| limit.rlim_cur < limit.rlim_max.min(WANTED)) {
        GIVEN.get_or_init(|| limit.rlim_cur);
        set_soft(WANTED);
    }
}

/// Takes that back, in a process that is about to execute a program. It allocates nothing.
pub(crate) fn restore() {
    GIVEN.get().into_iter().for_each(|given| set_soft(*given));
}

fn limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for what the call writes.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (result == 0).then_some(limit)
}

/// Where it is refused all goes on with fewer.
fn set_soft(wanted: libc::rlim_t) {
    if let Some(limit) = limit() {
        let limit = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), ..limit };
        // SAFETY: an initialised limit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    }
}
