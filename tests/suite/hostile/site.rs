//! Two supervisors side by side, and root's files between them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fcgi_tests::{Address, PATIENCE, Process, Signal, Stray, TempDir, copy_program, eventually, proc, temp_dir};

use crate::hostile::watch::{Client, Messages, Usage, empty_logs, snapshot};
use crate::hostile::{Limits, STOP_TIMEOUT};
use crate::launcher::path_of;
use crate::supervise::cpu;

/// Root's files, with the names of the supervisor's.
const CANARIES: [&str; 5] = ["passwd", "status", "pid", "log", "app.sock"];

/// Attacks on the supervisor's own files.
const FILE_ATTACKS: [&str; 4] = ["symlinks", "fifos", "links", "directories"];

/// Hard links to root's files that the attacker may use, as if the kernel had let it make them.
const LINKS: usize = 50;

/// A user, with a group of its own.
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// One that no account and no other test has: signals to all its processes reach no others.
    fn unused() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = 40_000 + (std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        User { name: id.to_string(), uid: id, gid: id }
    }

    fn named(name: &str) -> Self {
        let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
        let account = accounts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let ids: Vec<u32> = account.unwrap_or_default().split(':').filter_map(|word| word.parse().ok()).collect();
        let [uid, gid, ..] = ids[..] else { panic!("there is no user {name}") };
        User { name: name.to_owned(), uid, gid }
    }
}

pub(super) struct Site {
    dir: TempDir,
    limits: Limits,
    attacker: User,
    other: User,
    faults: Vec<String>,
}

/// The supervisor under attack.
struct Attacked {
    process: Process,
    messages: Messages,
    started: Instant,
}

impl Attacked {
    fn is_up(&self) -> bool {
        !self.messages.times("READY=1", self.started).is_empty()
    }
}

impl Site {
    pub(super) fn new(limits: Limits) -> Self {
        let (attacker, other) = match Limits::is_alone() {
            true => (User::named("nobody"), User::named("daemon")),
            false => (User::unused(), User::unused()),
        };
        let site = Site { dir: temp_dir(), limits, attacker, other, faults: Vec::new() };
        let open = |path: &Path| {
            fs::create_dir_all(path).expect("a directory of ours");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        };
        for name in ["", "bin", "canary", "good", "home"] {
            open(&site.path(name));
        }
        for program in ["fcgi-spawn", "hello", "hostile"] {
            copy_program(&path_of(program), &site.path("bin").join(program));
            fs::set_permissions(site.path("bin").join(program), fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        for name in CANARIES {
            let path = site.path("canary").join(name);
            fs::write(&path, format!("root's own {name}\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        }
        site.furnish();
        site.fill_pool();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives the attacker's home its first state.
    fn furnish(&self) {
        let home = self.path("home");
        for entry in fs::read_dir(&home).expect("a directory").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.unwrap_or_else(|error| panic!("{} stays: {error}", path.display()));
        }
        for name in ["home", "home/run", "home/pool"] {
            fs::create_dir_all(self.path(name)).expect("a directory");
            chown(self.path(name), Some(self.attacker.uid), Some(self.attacker.gid)).expect("root gives away");
        }
    }

    fn fill_pool(&self) {
        for number in 0..LINKS {
            let canary = self.path("canary").join(CANARIES[number % CANARIES.len()]);
            fs::hard_link(canary, self.path("home/pool").join(number.to_string())).expect("root makes links");
        }
    }

    /// Attacks, and returns all that is not as promised.
    pub(super) fn withstands(mut self, options: &[&str], attacks: &[&str]) -> Vec<String> {
        let canaries = snapshot(&self.path("canary"));
        let mut good = self.start_good();
        let address = Address::Unix(self.path("good/app.sock"));
        eventually("the good application", || address.connect().ok());
        let workers = eventually("its workers", || {
            let found = proc::descendants_named(good.pid(), "hello");
            (found.len() == 2).then_some(found)
        });
        let mut attacked = self.start(options, attacks, "first");
        eventually("the supervisor to be up before the attack", || attacked.is_up().then_some(()));
        let private = CANARIES.map(|name| self.path("canary").join(name).display().to_string());
        let foreign: Vec<u32> = workers.iter().copied().chain([good.pid()]).collect();
        let mut facts = format!("canary={}\n", self.path("canary").display());
        private.iter().for_each(|path| facts += &format!("private={path}\n"));
        facts += &format!("private={}\n", self.path("good/app.sock").display());
        foreign.iter().for_each(|pid| facts += &format!("foreign={pid}\n"));
        fs::write(self.path("facts"), format!("{facts}supervisor={}\n", attacked.process.pid())).expect("written");

        let client = Client::of(address);
        let attackers = Attackers::begin(&self);
        if !self.limits.attack.is_zero() {
            self.endure(&mut attacked, attacks);
        }
        self.stop(&mut attacked, "the stop under attack");
        drop(attacked);

        if self.limits.starts_again {
            self.start_again(options, attacks, &facts);
        }
        drop(attackers);
        let loot = fs::read_to_string(self.path("home/loot")).unwrap_or_default();
        let loot: std::collections::BTreeSet<&str> = loot.lines().collect();
        loot.iter().for_each(|line| self.fault(format!("the attacker {line}")));
        for (path, now) in changes(&canaries, &snapshot(&self.path("canary"))) {
            self.fault(format!("root's {} is changed: {now}", path.display()));
        }

        // An administrator has ended what was left, and tidied up.
        self.furnish();
        let mut last = self.start(options, &[], "last");
        if wait(PATIENCE, || (last.process.has_ended() || last.is_up()).then_some(())).is_none() || !last.is_up() {
            self.fault(format!("it does not start after the attack: {}", last.process.stderr().text()));
        }
        self.stop(&mut last, "the stop after the attack");
        let log = self.path("home/run/log");
        let left: Vec<PathBuf> = fs::read_dir(self.path("home/run"))
            .expect("a directory")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        if left.iter().any(|path| *path != log) {
            self.fault(format!("files are left: {left:?}"));
        }
        drop(last);

        let requests = client.finish();
        eprintln!("{} requests, the slowest took {:?}", requests.count, requests.slowest);
        if !requests.failures.is_empty() {
            self.fault(format!(
                "{} requests of {} failed: {:?}",
                requests.failures.len(),
                requests.count,
                requests.failures[0]
            ));
        }
        if requests.slowest > self.limits.response {
            self.fault(format!("a request took {:?}", requests.slowest));
        }
        let now = proc::descendants_named(good.pid(), "hello");
        if now != workers {
            self.fault(format!("the good supervisor has other workers: {workers:?}, then {now:?}"));
        }
        assert_eq!(good.stop().code(), Some(0), "{}", good.stderr().text());
        self.faults
    }

    /// Starts another one under attack, and stops it.
    fn start_again(&mut self, options: &[&str], attacks: &[&str], facts: &str) {
        // Under attack it may be refused, by a file in the place of its own, but then in one line and in time.
        let mut again = self.start(options, attacks, "again");
        fs::write(self.path("facts"), format!("{facts}supervisor={}\n", again.process.pid())).expect("written");
        let outcome = wait(self.limits.start, || (again.process.has_ended() || again.is_up()).then_some(()));
        if outcome.is_none() {
            self.fault(format!("a new start is neither up nor refused within {:?}", self.limits.start));
        }
        if again.process.has_ended() {
            let status = again.process.wait_exit();
            let said = || Some(again.process.stderr().text()).filter(|text| !text.is_empty());
            let text = wait(PATIENCE, said).unwrap_or_default();
            let is_refusal = status.code().is_some_and(|code| code != 0) && text.starts_with("fcgi-spawn: ");
            if !is_refusal {
                self.fault(format!("a new start ended with {status}: {text}"));
            }
        } else {
            self.stop(&mut again, "the second stop");
        }
    }

    fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    fn start_good(&self) -> Process {
        let mut command = std::process::Command::new(self.path("bin/fcgi-spawn"));
        let user = &self.other;
        command.env_clear().stdin(std::process::Stdio::null()).args([
            "-n",
            "-F",
            "2",
            "-u",
            &user.name,
            "-g",
            &user.gid.to_string(),
        ]);
        for (option, name) in [("-s", "app.sock"), ("-P", "pid"), ("--status", "status"), ("--log", "log")] {
            command.arg(option).arg(self.path("good").join(name));
        }
        Process::start(command.arg("--").arg(self.path("bin/hello")))
    }

    /// Starts the supervisor that is to be attacked; its messages are `name`'s.
    fn start(&self, options: &[&str], attacks: &[&str], name: &str) -> Attacked {
        let messages = Messages::at(&self.path(name));
        let mut command = std::process::Command::new(self.path("bin/fcgi-spawn"));
        let user = &self.attacker;
        command.env_clear().stdin(std::process::Stdio::null());
        command.env("NOTIFY_SOCKET", self.path(name)).env("WATCHDOG_USEC", "1000000");
        command.args(["-n", "-F", "2", "-u", &user.name, "-g", &user.gid.to_string(), "--heartbeat", "3s"]);
        // A worker that never sleeps is never seen to wait for a client.
        command.args(crate::launcher::SHORT_RELOAD).args(["--drain", "500ms"]);
        command.args(["--stop-timeout", &format!("{}ms", STOP_TIMEOUT.as_millis())]).args(options);
        for (option, file) in [("-s", "app.sock"), ("-P", "pid"), ("--status", "status"), ("--log", "log")] {
            // A start opens the log as it is named, whoever has put it there.
            if option != "--log" || name != "again" {
                command.arg(option).arg(self.path("home/run").join(file));
            }
        }
        let program = self.path("bin/hostile");
        command.arg("--");
        if attacks.contains(&"freeze") {
            // The search takes place as the worker's user: the longer, the more time to stop it there.
            let nowhere = |number| format!("/no/{number}");
            let path: Vec<String> = (0..8000).map(nowhere).chain([self.path("bin").display().to_string()]).collect();
            command.env("PATH", path.join(":")).arg("hostile");
        } else {
            command.arg(&program);
        }
        command.arg(self.path("home")).args(attacks);
        let started = Instant::now();
        Attacked { process: Process::start(&mut command), messages, started }
    }

    /// Uses the supervisor as an administrator does, and looks how it is.
    fn endure(&mut self, attacked: &mut Attacked, attacks: &[&str]) {
        let pid = attacked.process.pid();
        let (begun, time, page) = (Instant::now(), cpu(pid), SystemTime::now());
        let (mut usage, mut reopen, mut reload) = (Usage::default(), begun, begun + Duration::from_millis(300));
        let mut asked: Option<Instant> = None;
        let (mut reloads, mut slowest) = (0, Duration::ZERO);
        while begun.elapsed() < self.limits.attack || asked.is_some() {
            if attacked.process.has_ended() {
                let status = attacked.process.wait_exit();
                return self.fault(format!("it ended by itself: {status}: {}", attacked.process.stderr().text()));
            }
            usage.look(pid);
            empty_logs(pid, self.dir.path());
            let now = Instant::now();
            if now >= reopen {
                reopen = now + Duration::from_millis(500);
                attacked.process.signal(Signal::USR1);
                // A worker on demand needs a client.
                let _ = UnixStream::connect(self.path("home/run/app.sock"));
            }
            match asked {
                None if now >= reload && begun.elapsed() < self.limits.attack => {
                    attacked.process.signal(Signal::HUP);
                    asked = Some(now);
                }
                Some(since) => {
                    let messages = &attacked.messages;
                    let is_over = messages
                        .times("RELOADING=1", since)
                        .first()
                        .is_some_and(|begun| !messages.times("READY=1", *begun).is_empty());
                    if is_over || since.elapsed() > self.limits.reload {
                        slowest = slowest.max(since.elapsed());
                        (asked, reload) = (None, now + Duration::from_secs(1));
                        reloads += usize::from(is_over);
                    }
                    if !is_over && since.elapsed() > self.limits.reload {
                        self.fault(format!("a reload is not over within {:?}", self.limits.reload));
                    }
                    let gap = attacked.messages.longest_gap(begun);
                    if gap > self.limits.gap {
                        // It would not get better.
                        break;
                    }
                }
                None => {}
            }
            thread::sleep(Duration::from_millis(50));
        }
        let gap = attacked.messages.longest_gap(begun);
        let load = (cpu(pid) - time) as f64 / begun.elapsed().as_nanos() as f64;
        eprintln!("{reloads} reloads, the slowest {slowest:?}; gap {gap:?}; load {load:.2}; {usage:?}");
        if gap > self.limits.gap {
            let waits = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            self.fault(format!("it does not respond for {gap:?}, in '{waits}'"));
        }
        // Each worker that ends changes the page.
        let ends = ["siblings", "churn"];
        let is_changing = attacks.iter().any(|attack| ends.contains(attack))
            && !attacks.iter().any(|attack| FILE_ATTACKS.contains(attack));
        let written = fs::metadata(self.path("home/run/status")).and_then(|page| page.modified());
        if is_changing && !written.is_ok_and(|time| time > page) {
            self.fault("its page is that of before the attack".to_owned());
        }
        if load > self.limits.load {
            self.fault(format!("it keeps {load:.2} of a processor busy"));
        }
        if usage.rss > self.limits.rss {
            self.fault(format!("it takes {} KiB of memory", usage.rss));
        }
        if usage.descriptors > self.limits.descriptors {
            self.fault(format!("it has {} descriptors", usage.descriptors));
        }
    }

    fn stop(&mut self, attacked: &mut Attacked, what: &str) {
        let begun = Instant::now();
        attacked.process.signal(Signal::TERM);
        if wait(self.limits.stop, || attacked.process.has_ended().then_some(())).is_none() {
            let waits = fs::read_to_string(format!("/proc/{}/wchan", attacked.process.pid())).unwrap_or_default();
            self.fault(format!("{what} is not over within {:?}, in '{waits}'", self.limits.stop));
            attacked.process.signal(Signal::KILL);
            attacked.process.wait_exit();
        }
        eprintln!("{what} took {:?}", begun.elapsed());
    }
}

/// Looks until there is something, for so long at most.
fn wait<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let last = begun.elapsed() > time;
        let seen = look();
        if seen.is_some() || last {
            return seen;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The entries of which the second snapshot says something else.
fn changes<'a>(
    before: &'a std::collections::BTreeMap<PathBuf, String>,
    after: &'a std::collections::BTreeMap<PathBuf, String>,
) -> Vec<(&'a PathBuf, &'a str)> {
    let gone = before.keys().filter(|path| !after.contains_key(*path)).map(|path| (path, "it is gone"));
    let changed = after.iter().filter(|(path, now)| before.get(*path) != Some(*now));
    gone.chain(changed.map(|(path, now)| (path, now.as_str()))).collect()
}

/// The attackers, from the file that lets them begin to the end of the last of them.
struct Attackers {
    go: PathBuf,
    programs: PathBuf,
    uid: u32,
}

impl Attackers {
    fn begin(site: &Site) -> Self {
        fs::write(site.path("go"), "").expect("written");
        Attackers { go: site.path("go"), programs: site.path("bin"), uid: site.attacker.uid }
    }

    /// Processes of our copies of programs that the attacker's user has.
    fn found(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").expect("proc is there");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_one = |pid: &u32| {
            let uid = proc::status(*pid, "Uid").first().and_then(|uid| uid.parse().ok());
            uid == Some(self.uid) && proc::link(*pid, "exe").is_some_and(|exe| exe.starts_with(&self.programs))
        };
        pids.filter(is_one).collect()
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.go);
        let are_gone = wait(PATIENCE, || {
            let found = self.found();
            found.iter().for_each(|pid| Stray::adopt(*pid).signal(Signal::KILL));
            found.is_empty().then_some(())
        });
        assert!(are_gone.is_some() || thread::panicking(), "attackers are left: {:?}", self.found());
    }
}
