//! A worker that attacks its supervisor, another supervisor and root's files, by all that its user may do.
//!
//! Usage: `hostile HOME ATTACK...`, see [`Attack`] and [`Home`]. It waits for the file `go`, and all that it has
//! started ends when that file is removed.

mod channels;
mod files;
mod home;
mod processes;

use std::env;
use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process, setpriority_process, setsid};

use crate::home::Home;

/// What it does, each by a name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Stops the processes that are started next.
    Freeze,
    /// Kills workers of its own supervisor.
    Siblings,
    /// Ends soon after its start, in one of several ways.
    Churn,
    /// Ignores what asks it to end.
    Deaf,
    /// Leaves processes behind that hold all that it was given.
    Orphans,
    /// Writes as much as it can to its stdout and stderr, as bursts of what no log should believe.
    Output,
    /// The same without a pause.
    Torrent,
    /// Writes as much as it can to each channel to its supervisor.
    Report,
    /// Sends descriptors to each channel to its supervisor.
    Descriptors,
    /// Shuts down the listening socket.
    Listener,
    /// Puts symlinks to root's files in the place of its supervisor's files.
    Symlinks,
    /// The same with FIFOs and with directories, which block a reader or a rename.
    Fifos,
    /// The same with hard links.
    Links,
    /// Exchanges the directory of these files for root's, and back.
    Directories,
    /// Holds locks on files that lie beside these files.
    Locks,
    /// Tries to read, write, signal and reach what belongs to root and to other users.
    Intrude,
}

/// Where an attack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A thread of each worker.
    Thread,
    /// One process at a time, out of each worker's group and session, that holds what its worker was given.
    Process,
    /// In how the worker lives.
    Life,
}

impl Attack {
    const ALL: [(Self, &'static str, Place); 16] = [
        // In the order of their start: the last one stops what is started after it.
        (Self::Orphans, "orphans", Place::Life),
        (Self::Symlinks, "symlinks", Place::Process),
        (Self::Fifos, "fifos", Place::Process),
        (Self::Links, "links", Place::Process),
        (Self::Directories, "directories", Place::Process),
        (Self::Locks, "locks", Place::Process),
        (Self::Intrude, "intrude", Place::Process),
        (Self::Siblings, "siblings", Place::Process),
        (Self::Output, "output", Place::Thread),
        (Self::Torrent, "torrent", Place::Thread),
        (Self::Report, "report", Place::Thread),
        (Self::Descriptors, "descriptors", Place::Thread),
        (Self::Listener, "listener", Place::Thread),
        (Self::Churn, "churn", Place::Life),
        (Self::Deaf, "deaf", Place::Life),
        (Self::Freeze, "freeze", Place::Process),
    ];

    fn named(word: &str) -> Option<(Self, &'static str, Place)> {
        Self::ALL.into_iter().find(|(_, name, _)| *name == word)
    }

    fn run(self, home: &Home) {
        match self {
            Self::Freeze => processes::freeze(home),
            Self::Siblings => processes::kill_siblings(home),
            Self::Intrude => processes::intrude(home),
            Self::Orphans => home.wait_for_the_end(),
            Self::Output => channels::write_output(home, Duration::from_millis(100)),
            Self::Torrent => channels::write_output(home, Duration::ZERO),
            Self::Report => channels::write_report(home),
            Self::Descriptors => channels::send_descriptors(home),
            Self::Listener => channels::shut_listener(home),
            Self::Symlinks => files::replace(home, files::Trap::Symlink),
            Self::Fifos => files::replace(home, files::Trap::Fifo),
            Self::Links => files::replace(home, files::Trap::Link),
            Self::Directories => files::exchange_directories(home),
            Self::Locks => files::hold_locks(home),
            Self::Churn | Self::Deaf => {}
        }
    }
}

fn main() {
    let mut words = env::args().skip(1);
    let home = Home::new(words.next().unwrap_or_default());
    let words: Vec<String> = words.collect();
    if let [first, word] = &words[..] {
        if first == "--as" {
            let Some((attack, name, _)) = Attack::named(word) else { usage(word) };
            let _ = setsid();
            if attack != Attack::Freeze {
                yield_processor();
            }
            // Held until the end, so that there is one process of each attack. Orphans have none.
            let claim = home.claim(name);
            if attack == Attack::Orphans || claim.is_some() {
                attack.run(&home);
            }
            drop(claim);
            return;
        }
    }
    let mut wanted = Vec::new();
    for word in &words {
        match Attack::named(word) {
            Some((attack, ..)) => wanted.push(attack),
            None => usage(word),
        }
    }
    work(home, &wanted);
}

/// Leaves the processor to others, as far as they want it: how the kernel shares it is not under test. A session is a
/// group of its own for that.
fn yield_processor() {
    let _ = setpriority_process(None, 19);
    let _ = fs::write("/proc/self/autogroup", "19");
}

fn usage(word: &str) -> ! {
    let names: Vec<&str> = Attack::ALL.iter().map(|(_, name, _)| *name).collect();
    eprintln!("hostile: no attack is called '{word}'; there are {}", names.join(", "));
    process::exit(2)
}

/// A worker's life.
fn work(home: Home, wanted: &[Attack]) {
    if wanted.contains(&Attack::Deaf) {
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
            let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
        }
    }
    home.wait_for_the_beginning();
    let home = Arc::new(home);
    let chosen = || Attack::ALL.into_iter().filter(|(attack, ..)| wanted.contains(attack));
    for (attack, name, place) in chosen() {
        match place {
            Place::Process => home.start_process(name),
            Place::Life if attack == Attack::Orphans => home.leave_orphan(name),
            Place::Life | Place::Thread => {}
        }
    }
    yield_processor();
    for (attack, ..) in chosen().filter(|(_, _, place)| *place == Place::Thread) {
        let home = Arc::clone(&home);
        let _ = thread::Builder::new().spawn(move || attack.run(&home));
    }
    if !wanted.contains(&Attack::Churn) {
        // The life of a good worker, until it is told to end.
        home.wait_for_the_end();
        loop {
            thread::park();
        }
    }
    let us = getpid();
    let chance = us.as_raw_nonzero().get() % 5;
    thread::sleep(Duration::from_millis([20, 50, 100, 300, 600][chance as usize]));
    match chance {
        0 | 3 => process::exit(0),
        1 => process::exit(3),
        2 => drop(kill_process(us, Signal::KILL)),
        _ => process::abort(),
    }
}
