//! Runs a program as if the kernel were Linux 3.2, by a seccomp filter that its children inherit.
//!
//! ```text
//! old-kernel PROGRAM [ARGUMENT...]   the program's own exit status; 125 no filter, 126 or 127 it does not start
//! old-kernel --strict PROGRAM ...    whatever would be refused ends the process that asks for it, by SIGSYS
//! old-kernel --no-o-path PROGRAM ... and no socket can be opened with O_PATH, as before Linux 2.6.39
//! old-kernel --no-locks PROGRAM ...  and no file can be locked, as on a file system without locks
//! old-kernel --probe                 asks for all that is newer, on both architectures, and prints the answers
//! ```
//!
//! A call that is newer is answered ENOSYS, a newer value of an older call with the error that Linux 3.2 gives. A filter
//! sees registers only: on i386 the options of sockets, and everywhere flags in structures, are as the kernel has them.
//! /proc, /sys and uname show the kernel there is, and the vDSO is never asked.
//!
//! It is for amd64 machines, whose kernel runs programs of x86_64 and i386.

mod filter;
mod rules;
mod sys;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use filter::Newer;
use rules::{LAST_I386, LAST_X86_64, NO_LOCKS, NO_O_PATH, RULES, Rule};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).peekable();
    let newer = if words.next_if(|word| word == "--strict").is_some() { Newer::Fatal } else { Newer::Refused };
    let older: &[Rule] = words.next_if(|word| word == "--no-o-path").map_or(&[], |_| &NO_O_PATH);
    let older = words.next_if(|word| word == "--no-locks").map_or(older, |_| &NO_LOCKS);
    let Some(program) = words.next() else {
        eprintln!("usage: old-kernel [--strict] [--no-o-path] [--no-locks] PROGRAM [ARGUMENT...]");
        return ExitCode::from(125);
    };
    if program == "--probe" {
        probe();
        return ExitCode::SUCCESS;
    }
    if let Err(error) = sys::install(&mut filter::program(newer, older)) {
        eprintln!("old-kernel: no filter: {error}");
        return ExitCode::from(125);
    }
    let error = Command::new(&program).args(words.collect::<Vec<OsString>>()).exec();
    eprintln!("old-kernel: {program:?}: {error}");
    ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

/// Prints each question with the errno that came and the one of Linux 3.2. None of them does anything anywhere.
fn probe() {
    // uretprobe and uprobe are the kernel's own: they kill whoever else calls them, and no filter sees them.
    for call in (LAST_X86_64 + 1..=470).filter(|call| !(335..=336).contains(call)) {
        print("x86_64 call", &call, sys::errno_of(call, [u32::MAX; 6]), libc::ENOSYS);
    }
    for call in LAST_I386 + 1..=470 {
        print("i386 call", &call, sys::errno_of_i386(call, [u32::MAX; 6]), libc::ENOSYS);
    }
    for rule in RULES {
        if let Some(number) = rule.call.0 {
            print("x86_64", &rule.what, sys::errno_of(number, arguments(rule)), rule.errno);
        }
        if let Some(number) = rule.call.1 {
            print("i386", &rule.what, sys::errno_of_i386(number, arguments(rule)), rule.errno);
        }
    }
}

fn print(kind: &str, what: &dyn Display, errno: i32, then: i32) {
    println!("{kind} {what}: errno {errno}, Linux 3.2: {then}");
}

/// Arguments that a rule refuses.
fn arguments(rule: &Rule) -> [u32; 6] {
    let mut arguments = [u32::MAX; 6];
    arguments[rule.argument] = rule.from.max(1 << rule.mask.trailing_zeros());
    if let Some((argument, value)) = rule.only {
        arguments[argument] = value;
    }
    arguments
}
