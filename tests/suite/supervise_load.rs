//! `fcgi-spawn` under load: workers killed at random, and replaced in every way there is. `tests/run` runs these
//! one after the other: they load the machine, and have to count what comes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, TempDir, copy_program, eventually, eventually_within, is_root, proc,
    skip, temp_dir,
};
use serde_json::Value;

use crate::launcher::{Launcher, SHORT_RELOAD, in_folder, path_of, script};
use crate::monitor::{WRAPPERS, check};
use crate::supervise::replace;

/// How many connections each kind of load has.
const CONNECTIONS: u64 = 4;

/// How long one step may take under load.
const LONG: Duration = Duration::from_secs(180);

/// A supervisor, from files of its own that can be replaced, and load on it.
struct Loaded {
    supervisor: Process,
    load: Vec<(&'static str, Process)>,
    dir: TempDir,
}

impl Loaded {
    /// A supervisor of `hello` under both kinds of load.
    fn start(options: &[&str]) -> Self {
        let mut loaded = Self::supervise(options, "hello", |dir| {
            copy_program(&path_of("hello"), &dir.join("hello"));
        });
        for mode in ["--kept", "--per-request"] {
            loaded.add_load(mode, &["--script", "/hello", "--expect", "Hello, World!"]);
        }
        loaded
    }

    /// A supervisor of the file `program` in its folder.
    fn supervise(options: &[&str], program: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = temp_dir();
        prepare(dir.path());
        copy_program(&path_of("fcgi-spawn"), &dir.path().join("fcgi-spawn"));
        let mut command = Command::new(dir.path().join("fcgi-spawn"));
        command.env_clear().stdin(Stdio::null());
        command.args(in_folder(&["-s", "@/app.sock", "-n"], dir.path())).args(SHORT_RELOAD).args(options);
        let supervisor = Process::start(command.arg("--").arg(dir.path().join(program)));
        supervisor.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
        Loaded { supervisor, load: Vec::new(), dir }
    }

    fn add_load(&mut self, mode: &'static str, options: &[&str]) {
        let address = Address::Unix(self.dir.path().join("app.sock"));
        let mut command = Program::ours("fcgi-bench").command();
        // Without a pause a machine of two processors starves: RCU and workers were seen to wait for a minute.
        command.args(["-t", "900", "-c", &CONNECTIONS.to_string(), "--pause", "1", mode, "--json"]).args(options);
        self.load.push((mode, Process::start(command.arg(address.to_string()))));
    }

    /// Ends the load: what became of it, by kind.
    fn finish(&mut self) -> Vec<(&'static str, Value)> {
        let end = |(mode, mut bench): (&'static str, Process)| {
            bench.signal(Signal::INT);
            bench.wait_exit_within(LONG);
            let text = bench.stdout().to_end();
            let summary: Value = text.parse().unwrap_or_else(|_| panic!("no summary: {text}"));
            let [ok, failed, retries] = ["ok", "failed", "retries"].map(|name| count(&summary, name));
            eprintln!("{mode}: {ok} answered, {failed} failed, {retries} sent again");
            (mode, summary)
        };
        self.load.drain(..).map(end).collect()
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

/// Only what a killed worker was answering fails, at most one request for each connection it had.
#[test]
fn random_workers_are_killed() {
    const TIME: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_millis(100);
    let mut loaded = Loaded::start(&["-F", "4", "--restart-delay", "50ms", "--backoff-after", "off"]);
    let descriptors = proc::descriptors(loaded.supervisor.pid()).len();
    let (begun, mut next, mut chance) = (Instant::now(), Instant::now(), 4711_usize);
    let mut killed = Vec::new();
    while begun.elapsed() < TIME {
        // A generator of Lehmer's: the choice has to differ, and to be the same again.
        chance = chance * 48271 % 0x7fff_ffff;
        let workers = loaded.workers();
        if !workers.is_empty() {
            let worker = Stray::adopt(workers[chance % workers.len()]);
            worker.signal(Signal::KILL);
            killed.push(worker);
        }
        next += PAUSE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let (kills, mut answers) = (killed.len() as u64, 0);
    eprintln!("{kills} kills");
    for (_, summary) in loaded.finish() {
        let failures = &summary["failures"];
        let (failed, lost) = (count(&summary, "failed"), count(failures, "unanswered") + count(failures, "cut"));
        assert_eq!(lost, failed, "something else failed: {summary}");
        assert!(failed + count(&summary, "retries") <= kills * CONNECTIONS, "{summary}");
        assert_eq!(summary["gave_up"], false, "{summary}");
        answers += count(&summary, "ok");
    }
    assert!(answers >= 100 * TIME.as_secs(), "{answers} answers in {TIME:?}");

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
    const HUPS: u64 = 100;
    const FILES: u64 = 20;
    let mut loaded = Loaded::start(&["-F", "2", "--auto-update", "--stop-timeout", "60s"]);
    let (hello, supervisor) = (loaded.dir.path().join("hello"), loaded.dir.path().join("fcgi-spawn"));
    for _ in 0..HUPS {
        loaded.says_once_more("reloaded", |loaded| loaded.supervisor.signal(Signal::HUP));
    }
    // Both at once, as an upgrade of packages has it: whoever takes over finds that the workers' program has changed.
    for _ in 0..FILES {
        loaded.says_once_more("reloaded", |loaded| {
            replace(&hello, &path_of("hello"));
            replace(&supervisor, &path_of("fcgi-spawn"));
            loaded.says_once_more("has taken over", |loaded| loaded.supervisor.signal(Signal::USR2));
        });
    }
    let reloads = HUPS + FILES;
    eprintln!("{reloads} reloads");
    for (_, summary) in loaded.finish() {
        assert_eq!(count(&summary, "failed"), 0, "{summary}");
        assert!(count(&summary, "ok") > 0 && count(&summary, "retries") <= CONNECTIONS * reloads, "{summary}");
    }
    let changes = loaded.said("hello' has changed");
    assert_eq!(changes as u64, FILES, "{}", loaded.supervisor.stderr().text());
    assert_eq!(loaded.said("failed"), 0, "{}", loaded.supervisor.stderr().text());
    assert_eq!(children_and_zombies(loaded.supervisor.pid()).len(), 2);
    assert_eq!(loaded.supervisor.stop().code(), Some(0));
}

/// php-cgi answers what it has accepted before it ends, on connections of one request each.
#[test]
fn php_cgi_is_reloaded() {
    let Some(php) = Program::installed("php-cgi") else { skip!("php-cgi is not installed") };
    let mut loaded = Loaded::supervise(&["-F", "2", "--stop-timeout", "60s"], "php", |dir| {
        // It would end after 500 requests, three times in a second: the supervisor's pause after that is another matter.
        script(dir, "php", &format!("PHP_FCGI_MAX_REQUESTS=100000000 exec {}", php.path().display()));
        fs::write(dir.join("hello.php"), "Hello, <?php echo 'World!';").expect("written");
    });
    let page = format!("SCRIPT_FILENAME={}", loaded.dir.path().join("hello.php").display());
    loaded.add_load("--per-request", &["--param", &page, "--expect", "Hello, World!"]);
    for _ in 0..10 {
        loaded.says_once_more("reloaded", |loaded| loaded.supervisor.signal(Signal::HUP));
    }
    for (_, summary) in loaded.finish() {
        assert_eq!(count(&summary, "failed"), 0, "{summary}");
        assert!(count(&summary, "ok") > 0, "{summary}");
    }
    assert_eq!(loaded.supervisor.stop().code(), Some(0));
}

/// A page is written every 10 s, and tells nothing when it is older than three times that. A supervisor that is stopped, one
/// that hangs in a system call, and one that is well.
#[test]
fn monitors_find_a_supervisor_that_does_nothing() {
    let Some(strace) = Program::installed("strace") else { skip!("strace is not installed") };
    let options = ["-s", "@/app.sock", "--status", "@/status"];
    let [mut stopped, hung, well] = [(), (), ()].map(|()| {
        let launcher = Launcher::start(&options);
        launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
        fs::set_permissions(launcher.path(""), Permissions::from_mode(0o755)).expect("ours");
        launcher
    });
    let wrappers = if is_root() { &WRAPPERS[..] } else { &WRAPPERS[..1] };
    let report = |launcher: &Launcher| check(&["env"], &launcher.path("status"));
    let inject = ["-e", "trace=poll", "-e", "inject=poll:delay_enter=600000000", "-p"];
    let pid = hung.process.pid().to_string();
    let mut strace = Process::start(strace.command().args(inject).arg(pid));
    strace.stderr().wait_for_line("strace", |line| line.contains("attached"));
    stopped.process.signal(Signal::STOP);
    for launcher in [&stopped, &hung, &well] {
        assert_eq!(report(launcher).0, Some(0));
    }
    for launcher in [&stopped, &hung] {
        let (status, text) = eventually("a report that nothing is known", || {
            Some(report(launcher)).filter(|(status, _)| *status == Some(2))
        });
        let why = format!("its supervisor (pid {}) is stopped, hangs or cannot write it", launcher.process.pid());
        assert!(text.contains(&why), "{status:?} {text}");
        for (name, wrapper) in wrappers {
            let (status, text) = check(wrapper, &launcher.path("status"));
            assert!(status == Some(2) && text.contains(&why), "{name}: {status:?} {text}");
        }
    }
    assert_eq!(report(&well), (Some(0), "1 of 1 workers up\n".into()));
    stopped.process.signal(Signal::CONT);
    strace.signal(Signal::KILL);
    strace.wait_exit();
    for launcher in [&stopped, &hung] {
        eventually("a new page", || (report(launcher).0 == Some(0)).then_some(()));
    }
}
