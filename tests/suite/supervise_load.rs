//! `fcgi-spawn` under load: workers killed at random, and replaced in every way there is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, TempDir, eventually, eventually_within, once_is_enough, proc, temp_dir,
};
use serde_json::Value;

use crate::launcher::{in_folder, path_of};

/// How many connections each kind of load has.
const CONNECTIONS: u64 = 4;

/// How long one step may take under load.
const LONG: Duration = Duration::from_secs(180);

/// A supervisor, from files of its own that can be replaced, and load on it.
struct Loaded {
    supervisor: Process,
    kept: Process,
    per_request: Process,
    dir: TempDir,
}

/// What became of the load.
struct Outcome {
    kept: Value,
    per_request: Value,
}

impl Loaded {
    fn start(options: &[&str]) -> Self {
        let dir = temp_dir();
        for program in ["fcgi-spawn", "hello"] {
            fs::copy(path_of(program), dir.path().join(program)).expect("a copy");
        }
        let mut command = Command::new(dir.path().join("fcgi-spawn"));
        command.env_clear().stdin(Stdio::null());
        command
            .args(in_folder(&["-s", "@/app.sock", "-n"], dir.path()))
            .args(options)
            .arg("--")
            .arg(dir.path().join("hello"));
        let supervisor = Process::start(&mut command);
        supervisor.stderr().wait_for_line("listening", |line| line.contains("listening"));
        let address = Address::Unix(dir.path().join("app.sock"));
        let load = |mode| {
            let mut command = Program::ours("fcgi-bench").command();
            command.args(["-t", "900", "-c", &CONNECTIONS.to_string(), mode, "--json"]);
            Process::start(command.args(["--script", "/hello", "--expect", "Hello, World!"]).arg(address.to_string()))
        };
        Loaded { kept: load("--kept"), per_request: load("--per-request"), supervisor, dir }
    }

    /// Ends the load.
    fn finish(&mut self) -> Outcome {
        let end = |bench: &mut Process| {
            bench.signal(Signal::INT);
            bench.wait_exit();
            let text = bench.stdout().to_end();
            text.parse().unwrap_or_else(|_| panic!("no summary: {text}"))
        };
        Outcome { kept: end(&mut self.kept), per_request: end(&mut self.per_request) }
    }

    fn workers(&self) -> Vec<u32> {
        proc::descendants_named(self.supervisor.pid(), "hello")
    }

    fn said(&self, what: &str) -> usize {
        self.supervisor.stderr().lines().iter().filter(|line| line.contains(what)).count()
    }

    #[track_caller]
    fn says_once_more(&mut self, what: &str, after: impl FnOnce(&mut Self)) {
        let before = self.said(what);
        after(self);
        // Eight threads of load and the other tests are before it in the queue for two cores.
        eventually_within(LONG, what, || (self.said(what) > before).then_some(()));
    }
}

/// A member of a summary that is a number; 0 if there is none.
fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_default()
}

/// All children of a process, zombies too.
fn children_and_zombies(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn replace(path: &Path, with: &Path) {
    let beside = path.with_extension("new");
    fs::copy(with, &beside).expect("a copy");
    fs::rename(&beside, path).expect("renamed");
}

/// Only what a killed worker was answering fails, at most one request for each connection it had.
#[test]
fn random_workers_are_killed() {
    once_is_enough!();
    const TIME: Duration = Duration::from_secs(30);
    let mut loaded = Loaded::start(&["-F", "4", "--restart-delay", "50ms", "--backoff-after", "off"]);
    let descriptors = proc::descriptors(loaded.supervisor.pid()).len();
    let (begun, mut kills, mut chance) = (Instant::now(), 0, 4711_usize);
    let mut killed = Vec::new();
    while begun.elapsed() < TIME {
        // A generator of Lehmer's: the choice has to differ, and to be the same again.
        chance = chance * 48271 % 0x7fff_ffff;
        let workers = loaded.workers();
        if !workers.is_empty() {
            let worker = Stray::adopt(workers[chance % workers.len()]);
            worker.signal(Signal::KILL);
            killed.push(worker);
            kills += 1;
        }
        thread::sleep(
            Duration::from_millis(100).saturating_sub(begun.elapsed() - Duration::from_millis(100) * (kills - 1)),
        );
    }
    let outcome = loaded.finish();
    let mut answers = 0;
    for (name, summary) in [("kept", &outcome.kept), ("per request", &outcome.per_request)] {
        let (ok, failed, retries) = (count(summary, "ok"), count(summary, "failed"), count(summary, "retries"));
        eprintln!("{kills} kills, {name}: {ok} answered, {failed} failed, {retries} sent again");
        let failures = &summary["failures"];
        let lost = count(failures, "unanswered") + count(failures, "cut");
        assert_eq!(lost, failed, "something else failed: {summary}");
        assert!(failed + retries <= u64::from(kills) * CONNECTIONS, "{summary}");
        assert_eq!(summary["gave_up"], false, "{summary}");
        answers += ok;
    }
    assert!(answers >= 1000 * TIME.as_secs(), "{answers} answers in {TIME:?}");

    eventually("four workers and no zombie", || {
        let children = children_and_zombies(loaded.supervisor.pid());
        (loaded.workers().len() == 4 && children.len() == 4).then_some(())
    });
    killed.iter().for_each(Stray::wait_gone);
    eventually("the descriptors there were", || {
        (proc::descriptors(loaded.supervisor.pid()).len() <= descriptors).then_some(())
    });
    assert_eq!(loaded.supervisor.stop().code(), Some(0));
}

/// Nothing fails, however workers and the supervisor are replaced. A kept connection that a worker closes between two
/// requests may cost its client one more try, as with nginx.
#[test]
fn workers_and_supervisor_are_replaced() {
    once_is_enough!();
    const HUPS: u64 = 100;
    const FILES: u64 = 20;
    const UPGRADES: u64 = 20;
    let mut loaded = Loaded::start(&["-F", "2", "--auto-update", "--stop-timeout", "60s"]);
    let (hello, supervisor) = (loaded.dir.path().join("hello"), loaded.dir.path().join("fcgi-spawn"));
    for _ in 0..HUPS {
        loaded.says_once_more("reloaded", |loaded| loaded.supervisor.signal(Signal::HUP));
    }
    for round in 0..FILES {
        loaded.says_once_more("reloaded", |_| replace(&hello, &path_of("hello")));
        if round < UPGRADES {
            replace(&supervisor, &path_of("fcgi-spawn"));
            loaded.says_once_more("has taken over", |loaded| loaded.supervisor.signal(Signal::USR2));
        }
    }
    let outcome = loaded.finish();
    let reloads = HUPS + FILES;
    for (name, summary) in [("kept", &outcome.kept), ("per request", &outcome.per_request)] {
        let (ok, failed, retries) = (count(summary, "ok"), count(summary, "failed"), count(summary, "retries"));
        eprintln!("{reloads} reloads, {name}: {ok} answered, {failed} failed, {retries} sent again");
        assert_eq!(failed, 0, "{summary}");
        assert!(retries <= CONNECTIONS * reloads, "{summary}");
    }
    assert_eq!(loaded.said("failed"), 0, "{}", loaded.supervisor.stderr().text());
    assert_eq!(children_and_zombies(loaded.supervisor.pid()).len(), 2);
    assert_eq!(loaded.supervisor.stop().code(), Some(0));
}
