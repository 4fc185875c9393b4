//! What the start of a process costs at the least: std's vfork and exec, a wait for its end, and a pause before the next,
//! as a supervisor has it. It prints microseconds of CPU per start, by the kernel's account.
//!
//! rustc -O floor.rs && ./floor STARTS MILLISECONDS PROGRAM ARGUMENTS...

use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [starts, milliseconds, program, arguments @ ..] = &words[..] else { panic!("usage: see floor.rs") };
    let (starts, pause) = (starts.parse().expect("a number"), milliseconds.parse().expect("a number"));
    let start = || {
        let mut child = Command::new(program).args(arguments).spawn().expect("a child");
        child.wait().expect("its end");
        thread::sleep(Duration::from_millis(pause));
    };
    (0..10).for_each(|_| start());
    let before = cpu();
    (0..starts).for_each(|_| start());
    println!("{}", (cpu() - before) / starts / 1000);
}

/// Nanoseconds that this process has run.
fn cpu() -> u64 {
    let text = fs::read_to_string("/proc/self/schedstat").expect("a kernel with schedstat");
    text.split(' ').next().and_then(|time| time.parse().ok()).expect("a number")
}
