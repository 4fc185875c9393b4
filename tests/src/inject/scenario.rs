//! What a launcher goes through while a call fails.

use std::fmt;
use std::fs;
use std::io;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::actor::{Actor, OPTIONS, now};
use super::notified::Notified;
use super::site::{Launched, Site, read, within};
use super::strace::{Follow, Injection, Strace, Trace, What, tracer};
use super::verdict::{Fault, Observed};

/// What a launcher goes through while a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// In the foreground: start, a worker that is killed, reload, a new log, more and less workers, stop.
    Life,
    /// In the background: start and stop.
    Daemon,
    /// `--once`.
    Once,
    /// What is forked to become a worker, at the start.
    Children,
    /// The same in a supervisor that runs: a worker is killed.
    Restart,
    /// SIGUSR2.
    TakeOver,
    /// SIGTERM arrives at a call of a start, and there is another start.
    Term,
    /// The same with SIGKILL.
    Kill,
    /// A call fails for some time.
    Persistent,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 9] = [
        Scenario::Life,
        Scenario::Daemon,
        Scenario::Once,
        Scenario::Children,
        Scenario::Restart,
        Scenario::TakeOver,
        Scenario::Term,
        Scenario::Kill,
        Scenario::Persistent,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Life => "life",
            Scenario::Daemon => "daemon",
            Scenario::Once => "once",
            Scenario::Children => "children",
            Scenario::Restart => "restart",
            Scenario::TakeOver => "take-over",
            Scenario::Term => "term",
            Scenario::Kill => "kill",
            Scenario::Persistent => "persistent",
        }
    }

    /// What it does to a call.
    pub(super) fn what(self, error: &str) -> What {
        match self {
            Scenario::Term => What::Signal("TERM"),
            Scenario::Kill => What::Signal("KILL"),
            Scenario::Persistent => What::Errors(error.to_owned()),
            _ => What::Error(error.to_owned()),
        }
    }

    fn follow(self) -> Follow {
        match self {
            Scenario::Daemon | Scenario::Once | Scenario::Children | Scenario::Restart => Follow::Children,
            _ => Follow::Process,
        }
    }

    /// Whether the launcher is traced from its first call.
    pub(super) fn is_traced_from_the_start(self) -> bool {
        !matches!(self, Scenario::Restart | Scenario::TakeOver)
    }

    /// Goes through it once; also what was traced.
    pub(super) fn run(
        self,
        site: &Site,
        injection: Option<&Injection>,
        patience: Duration,
    ) -> io::Result<(Observed, Trace)> {
        let strace = Strace { follow: self.follow(), injection };
        let seen = match self {
            Scenario::Life | Scenario::Children => life(site, &strace, patience)?,
            Scenario::Daemon => daemon(site, &strace, patience)?,
            Scenario::Once => once(site, &strace, patience)?,
            Scenario::Restart => restart(site, &strace, patience)?,
            Scenario::TakeOver => take_over(site, &strace, patience)?,
            Scenario::Term | Scenario::Kill if injection.is_some() => killed(site, &strace, patience)?,
            Scenario::Term | Scenario::Kill => life(site, &strace, patience)?,
            Scenario::Persistent => persistent(site, &strace, patience)?,
        };
        site.end_all();
        Ok((seen, Trace::read(&site.trace(), self.is_traced_from_the_start())))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn foreground<'a>(site: &'a Site, strace: Option<&Strace<'_>>, patience: Duration) -> io::Result<Actor<'a>> {
    let options = [&OPTIONS[..], &["-n"]].concat();
    Actor::start(site, &mut site.launcher(&options, strace), patience)
}

fn life(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let manager = Notified::listen(&site.beside("manager"))?;
    let options = [&OPTIONS[..], &["-n"]].concat();
    let mut command = site.launcher(&options, Some(strace));
    let mut actor = Actor::start(site, command.env("NOTIFY_SOCKET", manager.path()), patience)?;
    if actor.comes_up() {
        let lives = actor.answers("after the start")
            && actor.replaces_worker()
            && actor.reloads()
            && actor.has_workers("after a reload", &[])
            && actor.reopens_log()
            && actor.counts()
            && actor.has_workers("after all", &[])
            && actor.answers("after all");
        if lives {
            actor.has_page();
        }
    }
    actor.stops_unless_refused();
    if actor.seen.up.is_some() && !manager.all().contains("READY=1") {
        actor.seen.missed("READY=1");
    }
    Ok(actor.ends())
}

fn daemon(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let mut actor = Actor::start(site, &mut site.launcher(&OPTIONS, Some(strace)), patience)?;
    if actor.comes_up_in_the_background()
        && actor.has_workers("after the start", &[])
        && actor.answers("after the start")
    {
        actor.has_page();
    }
    actor.stops_unless_refused();
    Ok(actor.ends())
}

fn once(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let mut actor = Actor::start(site, &mut site.launcher(&["--once"], Some(strace)), patience)?;
    match actor.launched().ends_within(patience) {
        None => {
            actor.seen.fault(Fault::Hang, format!("not ended after {patience:?}"));
            actor.launched().signal(Signal::KILL);
        }
        Some(status) if status.success() => {
            let mut workers = site.workers();
            let text = read(&site.pid_file());
            let mut named: Vec<u32> = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
            workers.sort_unstable();
            named.sort_unstable();
            if workers.len() != 2 {
                actor.seen.fault(Fault::WrongSuccess, format!("exit status 0, but {} workers", workers.len()));
            } else if named != workers {
                actor.seen.fault(Fault::WrongSuccess, format!("exit status 0, but the pid file has {text:?}"));
            }
            if let Err(error) = site.request(patience) {
                actor.seen.fault(Fault::WrongSuccess, format!("exit status 0, but no answer: {error}"));
            }
            let alone = within(patience, || site.processes().len() == site.workers().len());
            if !alone {
                actor.seen.fault(Fault::LeftProcess, "one that is no worker");
            }
            actor.seen.keep(site.lines());
            return Ok(actor.seen);
        }
        Some(status) => actor.refused(status),
    }
    Ok(actor.ends())
}

/// Attaches strace to a supervisor.
fn attach(site: &Site, strace: &Strace<'_>, supervisor: u32, patience: Duration) -> io::Result<Launched> {
    let mut command = strace.command(&site.trace());
    command.arg("-p").arg(supervisor.to_string()).stdin(Stdio::null()).current_dir(site.beside(""));
    let mut attached = site.attach(&mut command)?;
    within(patience, || tracer(supervisor).is_some() || attached.ended().is_some());
    match tracer(supervisor) {
        Some(_) => Ok(attached),
        None => Err(io::Error::other(format!("strace cannot attach: {}", read(&site.beside("strace"))))),
    }
}

fn restart(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let mut actor = foreground(site, None, patience)?;
    if actor.comes_up() {
        let _attached = attach(site, strace, actor.supervisor(), patience)?;
        let before = site.lines().len();
        let killed: Vec<u32> = actor.kill_worker().into_iter().collect();
        // Either it is replaced, or that fails again and again.
        within(patience, || {
            let workers = actor.workers();
            workers.len() == 2 && !workers.iter().any(|pid| killed.contains(pid)) || site.lines().len() > before + 1
        });
        actor.is_there("while a worker does not start");
        site.detach(patience);
        let lives = actor.has_workers("after a worker was killed", &killed) && actor.answers("after that");
        if lives {
            actor.has_page();
        }
    }
    actor.stops_unless_refused();
    Ok(actor.ends())
}

/// What changes as soon as a process executes a program.
fn image(pid: u32) -> Option<String> {
    // The address of its stack.
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.split(' ').nth_back(24).map(str::to_owned)
}

fn take_over(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let mut actor = foreground(site, None, patience)?;
    if actor.comes_up() && actor.has_workers("after the start", &[]) {
        let (pid, workers) = (actor.supervisor(), actor.workers());
        let _attached = attach(site, strace, pid, patience)?;
        // The last line of a start comes a moment after the workers are up.
        within(patience, || site.lines().iter().any(|line| line.contains("ready, ")));
        let (before, old) = (site.lines().len(), image(pid));
        actor.signal(Signal::USR2);
        within(patience, || site.lines().len() > before || actor.launched().ended().is_some());
        let replaced = image(pid) != old;
        if site.lines().len() == before {
            actor.seen.missed("a line about the new program");
        }
        if !replaced {
            actor.seen.missed("the new program");
        }
        actor.seen.up = Some(now());
        if actor.is_there("after SIGUSR2") {
            if actor.workers() != workers {
                actor.seen.fault(Fault::Outage, "other workers after SIGUSR2");
            }
            let lives = actor.answers("after SIGUSR2") && actor.replaces_worker() && actor.answers("after that");
            if lives {
                actor.has_page();
            }
        }
        site.detach(patience);
    }
    actor.stops_unless_refused();
    Ok(actor.ends())
}

fn killed(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let kills = matches!(strace.injection, Some(Injection { what: What::Signal("KILL"), .. }));
    let mut actor = foreground(site, Some(strace), patience)?;
    match actor.launched().ends_within(patience) {
        None => {
            actor.seen.fault(Fault::Hang, format!("not ended after {patience:?}"));
            actor.launched().signal(Signal::KILL);
        }
        Some(status) if !kills && status.signal().is_some_and(|signal| signal != Signal::TERM.as_raw()) => {
            actor.seen.fault(Fault::Outage, format!("it crashed: {status}"));
        }
        Some(_) => {}
    }
    actor.leaves_no_process();
    let left = site.left();
    if !kills && !left.is_empty() {
        actor.seen.fault(Fault::Litter, left.join(" "));
    }
    let first = mem::take(&mut actor.seen);
    drop(actor);
    site.end_all();

    let mut next = foreground(site, None, patience)?;
    if next.comes_up() {
        next.answers("after the next start");
    } else {
        let line = site.lines().last().cloned().unwrap_or_default();
        next.seen.fault(Fault::Outage, format!("the next start fails: {line}"));
    }
    next.stops_unless_refused();
    // Directories that were there may be anybody's.
    let mut seen = next.ends();
    seen.faults.retain(|(fault, what)| !(kills && *fault == Fault::Litter && what.split(' ').all(is_directory)));
    for (fault, what) in &mut seen.faults {
        if *fault == Fault::Litter {
            *what = format!("after the next start and its stop: {what}");
        }
    }
    seen.faults = [first.faults, seen.faults].concat();
    seen.refused = false;
    Ok(seen)
}

/// Whether it is one that `--mkdir` makes.
fn is_directory(name: &str) -> bool {
    matches!(name, "p" | "s")
}

fn persistent(site: &Site, strace: &Strace<'_>, patience: Duration) -> io::Result<Observed> {
    let mut actor = foreground(site, Some(strace), patience)?;
    actor.seen.excused = strace.injection.map_or(&[], |injection| unavoidable(&injection.call));
    if actor.comes_up() {
        let before = site.lines().len();
        let killed: Vec<u32> = actor.kill_worker().into_iter().collect();
        within(patience, || {
            let workers = actor.workers();
            workers.len() == 2 && !workers.iter().any(|pid| killed.contains(pid)) || site.lines().len() > before + 1
        });
        let mut lives = actor.is_there("while a call fails");
        site.detach(patience);
        lives = lives
            && actor.has_workers("after a call has failed for some time", &killed)
            && actor.reloads()
            && actor.answers("after a call has failed for some time");
        if lives {
            actor.has_page();
        }
    }
    actor.stops_unless_refused();
    Ok(actor.ends())
}

/// What follows if a call always fails: files stay that cannot be removed, or of which cannot be known whose they are; and
/// where nothing can be written there is no line. Without memory for more than a second every program ends.
fn unavoidable(call: &str) -> &'static [Fault] {
    match call {
        "unlink" | "unlinkat" | "rmdir" => &[Fault::Litter],
        "stat" | "stat64" | "lstat" | "lstat64" | "fstat" | "fstat64" | "newfstatat" | "fstatat64" => &[Fault::Litter],
        "write" | "writev" => &[Fault::SilentLoss],
        // Its last words are those of the standard library, on stderr.
        "mmap" | "brk" => &[Fault::Outage, Fault::Litter, Fault::SilentLoss],
        _ => &[],
    }
}
