//! By which errors each system call can fail.

use super::strace::Line;

/// The errors by which this call can really fail, on what it was called with; none if it cannot, or if strace cannot
/// pretend it. `None` for a call that is not in the table.
pub(super) fn of(line: &Line) -> Option<&'static [&'static str]> {
    let arguments = line.arguments.as_str();
    let first = arguments.split(", ").next().unwrap_or_default();
    let has = |flag: &str| arguments.contains(flag);
    let errors: &[&str] = match line.call.as_str() {
        "open" | "openat" | "openat2" | "creat" => match () {
            () if has("O_CREAT") => &["EMFILE", "EIO", "ENOSPC"],
            () if has("O_NOFOLLOW") && !has("O_PATH") => &["EMFILE", "EIO", "ELOOP"],
            () => &["EMFILE", "EIO"],
        },
        "read" | "readv" | "pread64" | "preadv" => match Kind::of(first) {
            Kind::Process => &["ESRCH"],
            Kind::File => &["EIO"],
            Kind::Other => &["EINTR"],
        },
        "write" | "writev" | "pwrite64" => match Kind::of(first) {
            Kind::File | Kind::Process => &["ENOSPC", "EIO"],
            Kind::Other => &["EINTR", "EPIPE"],
        },
        "poll" | "ppoll" | "ppoll_time64" | "epoll_wait" | "epoll_pwait" | "select" | "pselect6" => {
            &["EINTR", "ENOMEM", "EAGAIN"]
        }
        "clone" | "clone3" | "fork" | "vfork" => &["EAGAIN", "ENOMEM"],
        "pipe" | "pipe2" | "eventfd2" | "epoll_create1" | "timerfd_create" | "pidfd_open" | "dup" => &["EMFILE"],
        "epoll_ctl" => &["ENOMEM", "ENOSPC"],
        "socketpair" | "socket" => &["EMFILE", "ENOBUFS"],
        "signalfd" | "signalfd4" => &["EMFILE", "ENOMEM"],
        // F_DUPFD and F_DUPFD_CLOEXEC; flags can always be had and set.
        "fcntl" | "fcntl64" if has("F_DUPFD") => &["EMFILE"],
        "fcntl" | "fcntl64" => &[],
        "dup2" | "dup3" => &["EBUSY", "EINTR"],
        "bind" => &["EACCES", "EADDRINUSE", "ENOMEM"],
        "listen" => &["EADDRINUSE"],
        "connect" => &["EACCES", "EINTR"],
        "accept" | "accept4" => &["EMFILE", "ECONNABORTED"],
        "setsockopt" | "getsockopt" | "getsockname" | "getpeername" => &["ENOBUFS"],
        "shutdown" => &["ENOTCONN"],
        "sendto" | "sendmsg" | "send" => &["EINTR", "EAGAIN", "ENOBUFS"],
        "recvfrom" | "recvmsg" | "recv" => &["EINTR", "ENOMEM"],
        "stat" | "stat64" | "lstat" | "lstat64" | "newfstatat" | "fstatat64" | "statx" => &["EIO", "ENOMEM"],
        "fstat" | "fstat64" | "statfs" | "fstatfs" => &["EIO"],
        "access" | "faccessat" | "faccessat2" | "readlink" | "readlinkat" => &["EIO"],
        "getdents" | "getdents64" => &["EIO"],
        "rename" | "renameat" | "renameat2" | "link" | "linkat" | "mkdir" | "mkdirat" | "symlinkat" => {
            &["ENOSPC", "EIO"]
        }
        "unlink" | "unlinkat" | "rmdir" => &["EIO", "EBUSY"],
        "chmod" | "fchmod" | "fchmodat" | "chown" | "fchown" | "fchownat" | "lchown" => &["EPERM", "EIO"],
        "fchown32" | "chown32" | "lchown32" | "utimensat" => &["EPERM"],
        "ftruncate" | "ftruncate64" | "fsync" | "fdatasync" | "fallocate" => &["EIO", "ENOSPC"],
        "flock" => &["EINTR", "ENOLCK"],
        "chdir" | "fchdir" => &["EIO", "EACCES"],
        "chroot" => &["EPERM"],
        "getcwd" => &["ENOENT"],
        "kill" | "pidfd_send_signal" => &["EPERM", "ESRCH"],
        // With WNOHANG nothing is waited for, and what strace pretends leaves the zombie where it is.
        "wait4" | "waitid" | "waitpid" if has("WNOHANG") => &[],
        "wait4" | "waitid" | "waitpid" => &["EINTR"],
        "setsid" | "setpgid" | "capget" | "capset" => &["EPERM"],
        "setuid" | "setgid" | "setresuid" | "setresgid" | "setreuid" | "setregid" => &["EAGAIN", "EPERM"],
        "setuid32" | "setgid32" | "setresuid32" | "setresgid32" => &["EAGAIN", "EPERM"],
        "setgroups" | "setgroups32" => &["EPERM", "ENOMEM"],
        "prctl" if has("PR_CAPBSET_READ") || has("PR_SET_VMA") => &[],
        "prctl" => &["EINVAL"],
        "execve" => &["ENOMEM", "EIO"],
        "rt_sigtimedwait" | "rt_sigtimedwait_time64" => &["EINTR"],
        "inotify_init1" => &["EMFILE"],
        "inotify_add_watch" => &["ENOSPC"],
        "mmap" | "mmap2" | "brk" | "mremap" => &["ENOMEM"],
        call if cannot_fail(call) => &[],
        _ => return None,
    };
    Some(errors)
}

/// Whether a call never fails.
pub(super) fn cannot_fail(call: &str) -> bool {
    CANNOT_FAIL.contains(&call)
}

/// Calls that do not fail on what a correct program calls them with. `close` is done whatever it returns, but not by
/// strace.
const CANNOT_FAIL: [&str; 69] = [
    "alarm",
    "arch_prctl",
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "close",
    "close_range",
    "exit",
    "exit_group",
    "fadvise64",
    "futex",
    "futex_time64",
    "getegid",
    "getegid32",
    "geteuid",
    "geteuid32",
    "getgid",
    "getgid32",
    "getgroups",
    "getgroups32",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getrandom",
    "getresgid",
    "getresgid32",
    "getresuid",
    "getresuid32",
    "getrlimit",
    "getsid",
    "gettid",
    "gettimeofday",
    "getuid",
    "getuid32",
    "ioctl",
    "_llseek",
    "lseek",
    "madvise",
    "mprotect",
    "munmap",
    "nanosleep",
    "prlimit64",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setfsgid",
    "setfsgid32",
    "setfsuid",
    "setfsuid32",
    "setitimer",
    "setrlimit",
    "sigaltstack",
    "sigreturn",
    "sysinfo",
    "tgkill",
    "time",
    "ugetrlimit",
    "umask",
    "uname",
];

/// What a descriptor is, as `strace -y` names it: `4</etc/passwd>`, `5<socket:[4711]>`.
enum Kind {
    /// A file in the directory of a process, which may be gone.
    Process,
    File,
    Other,
}

impl Kind {
    fn of(descriptor: &str) -> Self {
        let name = descriptor.split_once('<').map_or("", |(_, name)| name);
        let process = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        match () {
            () if name.starts_with("/dev/") => Kind::Other,
            () if name.strip_prefix("/proc/").is_some_and(process) => Kind::Process,
            () if name.starts_with('/') => Kind::File,
            () => Kind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, errors: Option<&[&str]>) {
        assert_eq!(of(&Line::parse(text).expect("a line")), errors, "{text}");
    }

    #[test]
    fn errors_depend_on_what_a_call_is_about() {
        check("1.5 read(4</etc/passwd>, \"\", 4096) = 0", Some(&["EIO"]));
        check("1.5 read(4</proc/4711/stat>, \"\", 4096) = 0", Some(&["ESRCH"]));
        check(
            "1.5 read(4<anon_inode:[signalfd]>, 0x7ff, 128) = -1 EIO (Input/output error) (INJECTED)",
            Some(&["EINTR"]),
        );
        check("1.5 fcntl(3</x>, F_GETFD) = 0x1 (flags FD_CLOEXEC)", Some(&[]));
        check("1.5 fcntl(3</x>, F_DUPFD_CLOEXEC, 10) = 11</x>", Some(&["EMFILE"]));
        check("1.5 wait4(-1, 0x7ff, WNOHANG, NULL) = 0", Some(&[]));
        check("1.5 new_call(1) = 0", None);
    }
}
