//! The system calls, which is where `unsafe` is.
#![allow(unsafe_code, reason = "a filter is installed, and calls are made that no library knows")]

use std::io::{self, Error};

use libc::{c_long, c_ulong, sock_filter, sock_fprog};

/// Puts this process and all its children under a filter for ever.
///
/// Who is not root has to do without set-user-id programs then.
///
/// # Errors
/// The kernel's.
pub(crate) fn install(program: &mut [sock_filter]) -> io::Result<()> {
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: reads `program`, which lives, and as many instructions as it says.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as c_ulong, &raw const program) };
    if done == 0 {
        return Ok(());
    }
    if Error::last_os_error().raw_os_error() != Some(libc::EACCES) {
        return Err(Error::last_os_error());
    }
    const ONE: c_ulong = 1;
    const NONE: c_ulong = 0;
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ONE, NONE, NONE, NONE) } == -1 {
        return Err(Error::last_os_error());
    }
    // SAFETY: as above.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as c_ulong, &raw const program) };
    if done == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// The errno of a call that must not do anything: its pointers lead nowhere, its descriptors are closed.
pub(crate) fn errno_of(call: u32, arguments: [u32; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments.map(|value| value as i32 as c_long);
    // SAFETY: the caller's word, above; a kernel that does the call in spite of it does nothing to our memory.
    let done = unsafe { libc::syscall(call as c_long, a, b, c, d, e, f) };
    if done == -1 { Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// The same of i386, which the kernel takes from any program.
#[cfg(target_arch = "x86_64")]
pub(crate) fn errno_of_i386(call: u32, arguments: [u32; 6]) -> i32 {
    let [a, b, c, d, e, _] = arguments;
    let mut done = call;
    // SAFETY: as above; all registers that the kernel may change are named, and rbx is put back.
    unsafe {
        std::arch::asm!(
            "xchg {a:r}, rbx",
            "int 0x80",
            "xchg {a:r}, rbx",
            a = inout(reg) u64::from(a) => _,
            inout("eax") done,
            in("ecx") b,
            in("edx") c,
            in("esi") d,
            in("edi") e,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    };
    (-(done as i32)).max(0)
}

/// Elsewhere there are no such calls.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn errno_of_i386(_call: u32, _arguments: [u32; 6]) -> i32 {
    libc::ENOSYS
}
