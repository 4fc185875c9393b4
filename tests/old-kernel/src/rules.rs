//! What Linux 3.2 did not know yet, and what it said when it was asked.

use libc::{EAFNOSUPPORT, EINVAL, EISDIR, ENOLCK, ENOPROTOOPT, ENOSYS, ENXIO, EOPNOTSUPP};

/// The last call of Linux 3.2 on each architecture, process_vm_writev: whatever is newer has a higher number.
pub(crate) const LAST_X86_64: u32 = 311;
pub(crate) const LAST_I386: u32 = 348;

/// A value in a register that an older call took later.
pub(crate) struct Rule {
    /// What came when.
    pub(crate) what: &'static str,
    /// The call's numbers on x86_64 and i386.
    pub(crate) call: (Option<u32>, Option<u32>),
    /// The argument, and the bits of it that are looked at.
    pub(crate) argument: usize,
    pub(crate) mask: u32,
    /// The values that are refused, both included.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Only if this argument has this value.
    pub(crate) only: Option<(usize, u32)>,
    /// What Linux 3.2 answers.
    pub(crate) errno: i32,
}

const ALL: u32 = u32::MAX;

const PRCTL: (Option<u32>, Option<u32>) = (Some(157), Some(172));
const SOCKET: (Option<u32>, Option<u32>) = (Some(41), None);
const SETSOCKOPT: (Option<u32>, Option<u32>) = (Some(54), None);
const GETSOCKOPT: (Option<u32>, Option<u32>) = (Some(55), None);
const OPEN: (Option<u32>, Option<u32>) = (Some(2), Some(5));
const OPENAT: (Option<u32>, Option<u32>) = (Some(257), Some(295));
const FCNTL: (Option<u32>, Option<u32>) = (Some(72), Some(55));
const FCNTL64: (Option<u32>, Option<u32>) = (None, Some(221));
const MMAP: (Option<u32>, Option<u32>) = (Some(9), Some(192));
const MREMAP: (Option<u32>, Option<u32>) = (Some(25), Some(163));
const MADVISE: (Option<u32>, Option<u32>) = (Some(28), Some(219));
const FUTEX: (Option<u32>, Option<u32>) = (Some(202), Some(240));
const FALLOCATE: (Option<u32>, Option<u32>) = (Some(285), Some(324));
const WAITID: (Option<u32>, Option<u32>) = (Some(247), Some(284));
const CLOCK_GETTIME: (Option<u32>, Option<u32>) = (Some(228), Some(265));
const TIMERFD_CREATE: (Option<u32>, Option<u32>) = (Some(283), Some(322));
const FLOCK: (Option<u32>, Option<u32>) = (Some(73), Some(143));
const PIPE2: (Option<u32>, Option<u32>) = (Some(293), Some(331));

const SOL_IP: u32 = 0;
const SOL_SOCKET: u32 = 1;
const SOL_TCP: u32 = 6;
const SOL_IPV6: u32 = 41;

/// On i386, sockets are made and set by socketcall, whose arguments lie in memory: no filter sees those.
pub(crate) const RULES: &[Rule] = &[
    above("prctl: PR_SET_MM 3.3, CHILD_SUBREAPER 3.4, NO_NEW_PRIVS 3.5", PRCTL, 0, 35, EINVAL),
    Rule { only: Some((0, 22)), ..above("prctl: SECCOMP_MODE_FILTER 3.5", PRCTL, 1, 2, EINVAL) },
    above("socket: AF_VSOCK 3.9", SOCKET, 0, 40, EAFNOSUPPORT),
    option("setsockopt: SO_REUSEPORT 3.9", SETSOCKOPT, SOL_SOCKET, 15, 15),
    option("getsockopt: SO_REUSEPORT 3.9", GETSOCKOPT, SOL_SOCKET, 15, 15),
    option("setsockopt: SO_PEEK_OFF 3.4, SO_BUSY_POLL 3.11", SETSOCKOPT, SOL_SOCKET, 41, ALL),
    option("getsockopt: SO_PEEK_OFF 3.4, SO_BUSY_POLL 3.11", GETSOCKOPT, SOL_SOCKET, 41, ALL),
    option("setsockopt: TCP_REPAIR 3.5, TCP_FASTOPEN 3.7", SETSOCKOPT, SOL_TCP, 19, ALL),
    option("getsockopt: TCP_REPAIR 3.5, TCP_FASTOPEN 3.7", GETSOCKOPT, SOL_TCP, 19, ALL),
    option("setsockopt: IP_BIND_ADDRESS_NO_PORT 4.2", SETSOCKOPT, SOL_IP, 23, 31),
    option("setsockopt: IP_UNICAST_IF 3.4", SETSOCKOPT, SOL_IP, 50, 63),
    option("setsockopt: IPV6_AUTOFLOWLABEL 3.17", SETSOCKOPT, SOL_IPV6, 70, 70),
    option("setsockopt: IPV6_UNICAST_IF 3.4", SETSOCKOPT, SOL_IPV6, 76, 79),
    bits("open: O_TMPFILE 3.11", OPEN, 1, 0o20_000_000, EISDIR),
    bits("openat: O_TMPFILE 3.11", OPENAT, 2, 0o20_000_000, EISDIR),
    range("fcntl: F_OFD_GETLK 3.15", FCNTL, 1, 36, 38, EINVAL),
    range("fcntl64: F_OFD_GETLK 3.15", FCNTL64, 1, 36, 38, EINVAL),
    above("fcntl: F_ADD_SEALS 3.17", FCNTL, 1, 1033, EINVAL),
    above("fcntl64: F_ADD_SEALS 3.17", FCNTL64, 1, 1033, EINVAL),
    Rule { mask: 15, ..range("mmap: MAP_SHARED_VALIDATE 4.15", MMAP, 3, 3, 3, EINVAL) },
    bits("mremap: MREMAP_DONTUNMAP 5.7", MREMAP, 3, !3, EINVAL),
    range("madvise: MADV_FREE 4.5", MADVISE, 2, 5, 8, EINVAL),
    range("madvise: MADV_DONTDUMP 3.4", MADVISE, 2, 16, 99, EINVAL),
    above("madvise: MADV_GUARD_INSTALL 6.13", MADVISE, 2, 102, EINVAL),
    Rule { mask: 127, ..above("futex: FUTEX_LOCK_PI2 5.14", FUTEX, 1, 13, ENOSYS) },
    bits("fallocate: FALLOC_FL_COLLAPSE_RANGE 3.15", FALLOCATE, 1, !3, EOPNOTSUPP),
    above("waitid: P_PIDFD 5.4", WAITID, 0, 3, EINVAL),
    range("clock_gettime: CLOCK_TAI 3.10", CLOCK_GETTIME, 0, 11, 11, EINVAL),
    range("timerfd_create: CLOCK_BOOTTIME 3.15", TIMERFD_CREATE, 0, 7, 9, EINVAL),
    bits("pipe2: O_DIRECT 3.4", PIPE2, 1, !0o2_004_000, EINVAL),
];

/// Before Linux 2.6.39 the flag means nothing: this is what comes of opening a socket.
pub(crate) const NO_O_PATH: [Rule; 2] = [
    bits("open: O_PATH 2.6.39", OPEN, 1, 0o10_000_000, ENXIO),
    bits("openat: O_PATH 2.6.39", OPENAT, 2, 0o10_000_000, ENXIO),
];

/// A file system that has no locks.
pub(crate) const NO_LOCKS: [Rule; 1] = [above("flock: no locks", FLOCK, 1, 0, ENOLCK)];

const fn range(
    what: &'static str,
    call: (Option<u32>, Option<u32>),
    argument: usize,
    from: u32,
    to: u32,
    errno: i32,
) -> Rule {
    Rule { what, call, argument, mask: ALL, from, to, only: None, errno }
}

const fn above(what: &'static str, call: (Option<u32>, Option<u32>), argument: usize, from: u32, errno: i32) -> Rule {
    range(what, call, argument, from, ALL, errno)
}

/// Any of these bits.
const fn bits(what: &'static str, call: (Option<u32>, Option<u32>), argument: usize, mask: u32, errno: i32) -> Rule {
    Rule { what, call, argument, mask, from: 1, to: ALL, only: None, errno }
}

/// An option of sockets.
const fn option(what: &'static str, call: (Option<u32>, Option<u32>), level: u32, from: u32, to: u32) -> Rule {
    Rule { what, call, argument: 2, mask: ALL, from, to, only: Some((1, level)), errno: ENOPROTOOPT }
}
