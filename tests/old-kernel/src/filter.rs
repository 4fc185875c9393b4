//! The rules as a program for the kernel, which looks at each call of a process and its children.

use std::mem::offset_of;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{ENOSYS, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, seccomp_data, sock_filter};

use crate::rules::{LAST_I386, LAST_X86_64, RULES, Rule};

/// The kernel's names of the two architectures of an amd64 machine (`AUDIT_ARCH_*`).
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// A jump behind the rule, whose length is not known when the jump is written.
const OUT: u8 = u8::MAX;

/// What is done about a call that Linux 3.2 has not.
#[derive(Clone, Copy)]
pub(crate) enum Newer {
    /// It is answered as Linux 3.2 does.
    Refused,
    /// It ends the process by SIGSYS, except those of [`TRIED`].
    Fatal,
}

/// The calls of i386 that musl always tries first: sockets without socketcall, statx, times of 64 bits.
const TRIED: [(u32, u32); 3] = [(359, 373), (383, 383), (403, 423)];

/// The whole filter, with more rules for a kernel that is even older. x32's calls have numbers above all of x86_64's, so all
/// of them are refused.
pub(crate) fn program(newer: Newer, older: &[Rule]) -> Vec<sock_filter> {
    let mut x86_64 = vec![load(offset_of!(seccomp_data, nr))];
    let mut i386 = x86_64.clone();
    for (first, last) in TRIED {
        i386.extend([jump(BPF_JGT, last, 2, 0), jump(BPF_JGE, first, 0, 1), refuse(ENOSYS, Newer::Refused)]);
    }
    x86_64.extend(half(LAST_X86_64, older, |rule| rule.call.0, newer));
    i386.extend(half(LAST_I386, older, |rule| rule.call.1, newer));
    let mut program = vec![
        load(offset_of!(seccomp_data, arch)),
        jump(BPF_JEQ, X86_64, 3, 0),
        jump(BPF_JEQ, I386, 1, 0),
        answer(SECCOMP_RET_ALLOW),
        // Only this jump may be longer than 255.
        sock_filter { k: x86_64.len() as u32, ..jump(BPF_JA, 0, 0, 0) },
    ];
    program.extend(x86_64);
    program.extend(i386);
    program
}

fn half(last: u32, older: &[Rule], number: impl Fn(&Rule) -> Option<u32>, newer: Newer) -> Vec<sock_filter> {
    let mut half = vec![jump(BPF_JGT, last, 0, 1), refuse(ENOSYS, newer)];
    for rule in RULES.iter().chain(older) {
        if let Some(number) = number(rule) {
            half.extend(when(number, rule, newer));
        }
    }
    half.push(answer(SECCOMP_RET_ALLOW));
    half
}

/// One rule: each test that fails jumps behind it.
fn when(number: u32, rule: &Rule, newer: Newer) -> Vec<sock_filter> {
    let mut steps = vec![load(offset_of!(seccomp_data, nr)), jump(BPF_JEQ, number, 0, OUT)];
    if let Some((argument, value)) = rule.only {
        steps.extend([load(place_of(argument)), jump(BPF_JEQ, value, 0, OUT)]);
    }
    steps.extend([
        load(place_of(rule.argument)),
        sock_filter { code: (BPF_ALU | BPF_AND | BPF_K) as u16, jt: 0, jf: 0, k: rule.mask },
        jump(BPF_JGE, rule.from, 0, OUT),
    ]);
    if rule.to != u32::MAX {
        steps.push(jump(BPF_JGT, rule.to, OUT, 0));
    }
    steps.push(refuse(rule.errno, newer));
    let end = steps.len();
    for (at, step) in steps.iter_mut().enumerate() {
        for target in [&mut step.jt, &mut step.jf] {
            if *target == OUT {
                *target = (end - at - 1) as u8;
            }
        }
    }
    steps
}

/// The low half of an argument: both architectures store the lower byte first.
fn place_of(argument: usize) -> usize {
    offset_of!(seccomp_data, args) + 8 * argument
}

fn load(place: usize) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: place as u32 }
}

fn jump(condition: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | condition | BPF_K) as u16, jt: if_so, jf: if_not, k: value }
}

fn answer(verdict: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: verdict }
}

fn refuse(errno: i32, newer: Newer) -> sock_filter {
    answer(match newer {
        Newer::Refused => SECCOMP_RET_ERRNO | errno as u32,
        Newer::Fatal => SECCOMP_RET_KILL_PROCESS,
    })
}
