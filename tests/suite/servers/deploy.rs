//! A new version of a program, under load: what a bad one costs, and who is told.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, copy_program, eventually, proc, repository, skip, temp_dir,
    write_executable,
};
use serde_json::Value;

use crate::app::wait_until_it_listens;
use crate::launcher::{Launcher, SHORT_RELOAD, launcher, path_of};

/// A program, and how its file is used.
struct Kind {
    /// The command behind `exec`, from the directory of examples/applications; `None` if it is not there.
    command: fn(&Path) -> Option<String>,
    /// A file that the request is about.
    file: Option<&'static str>,
    /// More options.
    options: &'static [&'static str],
    /// For how long each client rests between two requests, in milliseconds: now and then a worker has none.
    pause: &'static str,
}

/// At SIGTERM they accept one more connection, and drop it. This signal ends flup at once, and has libfcgi finish. On a busy
/// machine a worker may have a client, or be at work, whenever it is looked at for some seconds.
const END_AT_ONCE: &[&str] = &["--stop-signal", "USR1", "--drain", "60s"];

const HELLO: Kind =
    Kind { command: |_| Some(path_of("hello").display().to_string()), file: None, options: &[], pause: "5" };

const PHP: Kind = Kind {
    command: |_| {
        let php = Program::installed("php-cgi")?.path().display().to_string();
        // It would end after 500 requests, three times in a second: the supervisor's pause after that is another matter.
        Some(format!("env PHP_FCGI_MAX_REQUESTS=100000000 {php} -n"))
    },
    file: Some("hello.php"),
    options: &[],
    pause: "5",
};

/// Python with flup, in the environment that tests/run made.
const FLUP: Kind = Kind {
    command: |files| {
        let python = PathBuf::from(env::var_os("FCGI_TEST_FLUP")?).join("bin/python");
        python.exists().then(|| format!("{} {}", python.display(), files.join("hello.py").display()))
    },
    file: None,
    options: END_AT_ONCE,
    pause: "5",
};

const PERL: Kind = Kind {
    command: |files| {
        let perl = Program::installed("perl")?;
        let has_fcgi = perl.command().args(["-MFCGI", "-e1"]).output().is_ok_and(|output| output.status.success());
        has_fcgi.then(|| format!("{} {}", perl.path().display(), files.join("hello.pl").display()))
    },
    file: None,
    options: &[],
    pause: "5",
};

/// A program in C with libfcgi.
const FCGIWRAP: Kind = Kind {
    command: |_| Some(format!("{} -f", Program::installed("fcgiwrap")?.path().display())),
    file: Some("hello.cgi"),
    options: END_AT_ONCE,
    pause: "200",
};

/// A supervisor of a program under load, with a status page.
struct Site {
    launcher: Launcher,
    command: String,
    load: Option<Process>,
    kind: &'static Kind,
}

impl Site {
    /// `None` if there is no such program here.
    fn start(kind: &'static Kind, options: &[&str]) -> Option<Self> {
        let files = repository().join("examples/applications");
        let command = (kind.command)(&files)?;
        let options =
            [&["-s", "@/app.sock", "--status", "@/status", "-P", "@/pid", "--log", "stderr"], kind.options, options]
                .concat();
        let launcher = Launcher::start_with(&options, &["@/program"], |dir| {
            write_executable(&dir.join("program"), &format!("#!/bin/sh\nexec {command}\n"));
            if let Some(file) = kind.file {
                copy_program(&files.join(file), &dir.join(file));
            }
        });
        wait_until_it_listens(&launcher.socket());
        launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
        let mut site = Site { launcher, command, load: None, kind };
        site.add_load();
        Some(site)
    }

    fn add_load(&mut self) {
        let mut command = Program::ours("fcgi-bench").command();
        command.args(["-t", "60", "-c", "3", "--pause", self.kind.pause, "--per-request", "--json"]);
        if let Some(file) = self.kind.file {
            command.arg("--param").arg(format!("SCRIPT_FILENAME={}", self.launcher.path(file).display()));
        }
        self.load = Some(Process::start(command.arg(self.launcher.socket().to_string())));
    }

    /// How many requests were answered, how many failed, and all that is known of them.
    fn finish_load(&mut self) -> (u64, u64, String) {
        let mut load = self.load.take().expect("it is under load");
        load.signal(Signal::INT);
        load.wait_exit();
        let text = load.stdout().to_end();
        let summary: Value = text.parse().unwrap_or_else(|_| panic!("no summary: {text}"));
        let count = |name: &str| summary[name].as_u64().unwrap_or_default();
        assert_eq!(count("retries"), 0, "{text}");
        (count("ok"), count("failed"), text)
    }

    /// Puts another version in place, in one step.
    fn deploy(&self, script: &str) {
        let (file, beside) = (self.launcher.path("program"), self.launcher.path("program.new"));
        write_executable(&beside, &format!("#!/bin/sh\n{script}\n"));
        fs::rename(beside, file).expect("renamed");
    }

    fn deploy_mended(&self) {
        self.deploy(&format!("exec {}", self.command));
    }

    /// The exit status of `fcgi-spawn --reload`, and its message.
    fn reload(&self) -> (Option<i32>, String) {
        let mut reload = Process::start(launcher().args(["--reload", "--status"]).arg(self.launcher.path("status")));
        (reload.wait_exit().code(), reload.stderr().to_end())
    }

    /// What a monitor is told.
    fn check(&self) -> Value {
        let mut check =
            Process::start(launcher().args(["--check", "--json", "--status"]).arg(self.launcher.path("status")));
        let status = check.wait_exit().code();
        let report: Value = check.stdout().to_end().parse().expect("JSON");
        assert_eq!(report["status"].as_i64(), status.map(i64::from), "{report}");
        report
    }

    /// The processes that serve, when all do.
    #[track_caller]
    fn serving(&self) -> Vec<u64> {
        let running = || {
            let report = self.check();
            let processes = report["processes"].as_array().expect("a list");
            let all = processes.iter().all(|process| process["state"] == "running");
            all.then(|| processes.iter().map(|process| process["pid"].as_u64().expect("a pid")).collect())
        };
        eventually("workers that run", running)
    }

    #[track_caller]
    fn has_lost_nothing(&mut self) {
        let (answered, failed, summary) = self.finish_load();
        assert!(answered > 0 && failed == 0, "{summary}");
    }

    #[track_caller]
    fn has_replaced(&self, before: &[u64]) {
        let after = self.serving();
        assert!(after.len() == before.len() && !after.iter().any(|pid| before.contains(pid)), "{before:?} {after:?}");
    }

    /// Whether a new process has taken the place of an old one, after it had lived for as long as it had to: it was to
    /// die before, but the machine was too slow for that. One that takes a place earlier is a fault.
    fn was_too_slow(&self, life: Duration, proven: Duration) -> bool {
        life >= proven && self.launcher.process.stderr().text().contains(" is stopped: ")
    }

    /// The deployment has failed: all are told why, and the old processes serve.
    #[track_caller]
    fn has_failed(&self, before: &[u64], why: &str) {
        let report = self.check();
        assert_eq!((&report["status"], &report["reload"]["result"]), (&0.into(), &"failed".into()), "{report}");
        let page = fs::read_to_string(self.launcher.path("status")).expect("a page");
        let log = self.launcher.process.stderr().text();
        let reason = report["reload"]["reason"].as_str().expect("a reason");
        for text in [reason, report["message"].as_str().expect("a message"), &page, &log] {
            assert!(text.contains(why), "{text}");
        }
        assert_eq!(self.serving(), before);
    }
}

const DIES: &str = "echo 'no such module' >&2; exit 7";
const WHY: &str = "exited 7 after";

/// How often a deployment is tried.
const TRIES: usize = 3;

/// Programs that die after so long, before they accept anything, then a mended one. All have to die within the time to be
/// up and a short one for the canary: there is more of it in another try, for a busy machine. See also `die_late`.
fn die_early(kind: &'static Kind, workers: &str, delays: &[&str]) {
    'again: for ready_millis in (0..TRIES).map(|n| 800 << n) {
        let proven = Duration::from_millis(ready_millis + 500);
        let ready_after = format!("{ready_millis}ms");
        let options = ["-F", workers, "--canary", "500ms", "--ready-after", &ready_after];
        let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
        let before = site.serving();
        for delay in delays {
            site.deploy(&format!("sleep {delay}; {DIES}"));
            let begun = Instant::now();
            let (status, message) = site.reload();
            let life = begun.elapsed();
            assert_eq!(status, Some(1), "{message}");
            assert!(message.starts_with("fcgi-spawn: reload failed: worker 1 "), "{message}");
            assert!(message.contains(WHY) && message.ends_with("said 'no such module'\n"), "{message}");
            if site.was_too_slow(life, proven) {
                continue 'again;
            }
            site.has_failed(&before, WHY);
        }
        site.deploy_mended();
        assert_eq!(site.reload(), (Some(0), String::new()));
        site.has_replaced(&before);
        site.has_lost_nothing();
        assert_eq!(site.launcher.process.stop().code(), Some(0));
        return;
    }
    panic!("the machine was too slow each time");
}

/// The same without a command: the file of the program is looked at.
fn die_when_updated(kind: &'static Kind, workers: &str) {
    let options = ["-F", workers, "--canary", "100ms", "--ready-after", "250ms", "--auto-update"];
    let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
    let before = site.serving();
    site.deploy(DIES);
    eventually("a failed reload", || (site.check()["reload"]["result"] == "failed").then_some(()));
    site.has_failed(&before, WHY);
    site.has_lost_nothing();
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

/// The mended program is taken without a command.
fn mended_by_an_update(kind: &'static Kind, workers: &str) {
    let options = ["-F", workers, "--canary", "100ms", "--ready-after", "250ms", "--auto-update"];
    let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
    let before = site.serving();
    site.deploy(DIES);
    assert_eq!(site.reload().0, Some(1));
    site.has_failed(&before, WHY);
    site.deploy_mended();
    eventually("a reload", || (site.check()["reload"]["result"] == "done").then_some(()));
    site.has_replaced(&before);
    site.has_lost_nothing();
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

/// Old processes end between two requests, again and again.
fn reload_six_times(kind: &'static Kind) {
    let options = ["-F", "2", "--canary", "100ms", "--ready-after", "250ms"];
    let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
    for _ in 0..6 {
        let before = site.serving();
        assert_eq!(site.reload(), (Some(0), String::new()));
        site.has_replaced(&before);
    }
    site.has_lost_nothing();
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

/// With the times that there are by default. The process lives for long enough to be taken for a good one, but for the
/// canary. `tests/run deploys` does it with each number of workers, by a command and without one, and with shorter lives.
fn die_late(kind: &'static Kind, delay: &str) {
    if env::var_os("FCGI_TEST_DEPLOYS").is_none() {
        return die_with(kind, "2", delay, false);
    }
    for workers in ["1", "2", "4"] {
        for is_updated in [false, true] {
            let delays = if delay == "3" { &["0", "0.3", "1", "3"][..] } else { &[delay][..] };
            for delay in delays {
                eprintln!(
                    "{workers} workers, dies after {delay} s, {}",
                    if is_updated { "updated" } else { "reloaded" }
                );
                die_with(kind, workers, delay, is_updated);
            }
        }
    }
}

fn die_with(kind: &'static Kind, workers: &str, delay: &str, is_updated: bool) {
    let mut options = vec!["-F", workers, "--canary", "5s", "--ready-after", "2s"];
    options.extend(is_updated.then_some("--auto-update"));
    for _ in 0..TRIES {
        let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
        let before = site.serving();
        site.deploy(&format!("sleep {delay}; {DIES}"));
        let (begun, life);
        if is_updated {
            site.launcher.process.stderr().wait_for_line("an update", |line| line.contains(" has changed"));
            begun = Instant::now();
            let result = || site.check()["reload"]["result"].as_str().map(str::to_owned);
            eventually("the end of the reload", || result().filter(|result| result == "failed" || result == "done"));
            life = begun.elapsed();
        } else {
            begun = Instant::now();
            let (status, message) = site.reload();
            life = begun.elapsed();
            assert!(status == Some(1) && message.contains("said 'no such module'"), "{message}");
        }
        if site.was_too_slow(life, Duration::from_secs(7)) {
            continue;
        }
        site.has_failed(&before, WHY);
        if env::var_os("FCGI_TEST_DEPLOYS").is_some() {
            site.deploy_mended();
            if is_updated {
                eventually("a reload", || (site.check()["reload"]["result"] == "done").then_some(()));
            } else {
                assert_eq!(site.reload(), (Some(0), String::new()));
            }
            site.has_replaced(&before);
        }
        site.has_lost_nothing();
        assert_eq!(site.launcher.process.stop().code(), Some(0));
        return;
    }
    panic!("the machine was too slow each time");
}

/// A canary that serves and then dies loses no more than the connections that it has accepted.
fn serve_and_die(kind: &'static Kind) {
    let options = ["-F", "2", "--canary", "60s", "--ready-after", "250ms"];
    let Some(mut site) = Site::start(kind, &options) else { skip!("the program is not installed") };
    let before = site.serving();
    let mut reload = Process::start(launcher().args(["--reload", "--status"]).arg(site.launcher.path("status")));
    let watched = site.launcher.process.stderr().wait_for_line("a canary", |line| line.contains("watched for 60s"));
    let pid = watched.split_once("(pid ").and_then(|(_, pid)| pid.split_once(')')?.0.parse().ok()).expect("its pid");
    let canary = Stray::adopt(pid);
    let is_socket =
        |fd: &u32| proc::descriptor(pid, *fd).is_some_and(|file| file.to_string_lossy().starts_with("socket:"));
    // The listening socket is one of them.
    let accepted = || proc::descriptors(pid).into_iter().filter(is_socket).count() - 1;
    eventually("a client of the canary", || (accepted() > 0).then_some(()));
    canary.signal(Signal::STOP);
    eventually("a canary that stands still", || proc::is_stopped(pid).then_some(()));
    let held = accepted() as u64;
    canary.signal(Signal::KILL);
    assert_eq!(reload.wait_exit().code(), Some(1), "{}", reload.stderr().to_end());
    site.has_failed(&before, "was killed by SIGKILL");
    let (answered, failed, summary) = site.finish_load();
    assert!(answered > 0 && failed <= held, "{held} held, {summary}");
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

macro_rules! kinds {
    ($($name:ident $kind:ident)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn one_worker() {
                die_early(&$kind, "1", &["0", "0.3", "1"]);
            }

            #[test]
            fn two_workers() {
                die_early(&$kind, "2", &["0", "0.3", "1"]);
            }

            #[test]
            fn four_workers() {
                die_early(&$kind, "4", &["0", "0.3", "1"]);
            }

            #[test]
            fn one_worker_is_updated() {
                die_when_updated(&$kind, "1");
            }

            #[test]
            fn two_workers_are_updated() {
                die_when_updated(&$kind, "2");
            }

            #[test]
            fn four_workers_are_updated() {
                die_when_updated(&$kind, "4");
            }

            #[test]
            fn one_worker_is_mended_by_an_update() {
                mended_by_an_update(&$kind, "1");
            }

            #[test]
            fn two_workers_are_mended_by_an_update() {
                mended_by_an_update(&$kind, "2");
            }

            #[test]
            fn four_workers_are_mended_by_an_update() {
                mended_by_an_update(&$kind, "4");
            }

            #[test]
            fn is_reloaded_six_times() {
                reload_six_times(&$kind);
            }

            #[test]
            fn serves_and_dies() {
                serve_and_die(&$kind);
            }

            #[test]
            fn dies_after_three_seconds() {
                die_late(&$kind, "3");
            }

            #[test]
            fn dies_just_before_it_is_proven() {
                die_late(&$kind, "4.9");
            }
        }
    )*};
}

kinds! { hello HELLO php PHP flup FLUP perl PERL fcgiwrap FCGIWRAP }

/// A canary that serves and then dies loses what it held, and nothing else.
#[test]
fn a_canary_that_serves_and_dies_loses_one_request() {
    let Some(mut site) = Site::start(&PERL, &["-F", "2", "--canary", "5s", "--ready-after", "250ms"]) else {
        skip!("Perl's FCGI is not installed")
    };
    let before = site.serving();
    let perl = r#"exec perl -MFCGI -e '
        my $request = FCGI::Request(); my $count = 0;
        while ($request->Accept() >= 0) {
            if ($count++ == 20) { print STDERR "out of order\n"; kill KILL => $$ }
            print "Content-Type: text/plain\r\n\r\nnew\n";
        }'"#;
    site.deploy(perl);
    let (status, message) = site.reload();
    assert!(status == Some(1) && message.contains("was killed by SIGKILL"), "{message}");
    site.has_failed(&before, "was killed by SIGKILL");
    let (answered, failed, summary) = site.finish_load();
    assert!(answered > 20 && failed == 1, "{summary}");
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

// ------------------------------------------------------------------------------------------ who asks for a reload

/// The exit status of a launcher with these arguments, and what it prints.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Process::start(launcher().args(arguments));
    (process.wait_exit().code(), process.stdout().to_end() + &process.stderr().to_end())
}

#[test]
fn a_pid_file_names_the_supervisor_too() {
    let mut site = Site::start(&HELLO, &["-F", "2"]).expect("it is ours");
    let before = site.serving();
    let (page, pid_file) = (site.launcher.path("status"), site.launcher.path("pid"));
    let (page, pid_file) = (page.to_str().expect("a plain path"), pid_file.to_str().expect("a plain path"));
    assert_eq!(run(&["--reload", "-P", pid_file]), (Some(0), "reloaded\n".into()));
    assert!(!site.serving().iter().any(|pid| before.contains(pid)));
    assert_eq!(run(&["--reload", "--pid-file", pid_file, "--status", page]), (Some(0), "reloaded\n".into()));
    site.has_lost_nothing();

    // Of another process, and of none.
    let status = ["--status", page];
    for (pid, options, why) in [
        ("1", &status[..], "not of pid 1"),
        ("1", &[], "pid 1 is no supervisor with the pid file"),
        ("no number", &status[..], "not one number"),
    ] {
        fs::write(pid_file, pid).expect("written");
        let (status, message) = run(&[&["--reload", "-P", pid_file], options].concat());
        assert!(status == Some(2) && message.contains(why), "{message}");
    }
    site.launcher.process.signal(Signal::KILL);
    site.launcher.process.wait_exit();
    for arguments in [&["--reload", "--status", page][..], &["--reload", "--status", "/missing"]] {
        assert_eq!(run(arguments).0, Some(2));
    }
}

/// Why a program fails is reported without a log, too, in the foreground and in the background.
#[test]
fn the_last_line_is_known_without_a_log() {
    for background in [false, true] {
        let dir = temp_dir();
        let path = |name: &str| dir.path().join(name).display().to_string();
        write_executable(&dir.path().join("program"), "#!/bin/sh\nexec sleep 1000\n");
        let (page, pid_file, program) = (path("status"), path("pid"), path("program"));
        let mut command = launcher();
        command.args(SHORT_RELOAD).args(["-s", &path("app.sock"), "--status", &page, "-P", &pid_file]);
        command.args((!background).then_some("-n")).args(["--", &program]);
        let mut process = Process::start(&mut command);
        eventually("a pid file", || Path::new(&pid_file).exists().then_some(()));
        let pid = fs::read_to_string(&pid_file).expect("a pid").trim().parse().expect("a pid");
        let supervisor = Stray::adopt(pid);
        write_executable(Path::new(&program), "#!/bin/sh\necho 'no such module' >&2; echo done; exit 7\n");
        let (status, message) = run(&["--reload", "-P", &pid_file]);
        assert!(status == Some(1) && message.ends_with(", and said 'no such module'\n"), "{message}");
        let said = process.stderr().text();
        assert_eq!(said.contains("): no such module\n"), !background, "{said}");
        supervisor.signal(Signal::TERM);
        assert_eq!(process.wait_exit().code(), Some(0));
        supervisor.wait_gone();
        assert_eq!(process.stdout().to_end().ends_with("done\n"), !background);
    }
}

/// The result is nowhere to be read.
#[test]
fn a_supervisor_without_a_status_page_is_not_asked() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "-P", "@/pid"]);
    let pid_file = launcher.path("pid");
    eventually("a pid file", || pid_file.exists().then_some(()));
    let before = launcher.workers(1);
    let (status, message) = run(&["--reload", "-P", pid_file.to_str().expect("a plain path")]);
    assert!(status == Some(1) && message.contains("start it with --status FILE"), "{message}");
    assert_eq!(launcher.workers(1), before);
}

/// A program that has reported that it is up is followed by one that has, however long that takes.
#[test]
fn what_reports_is_up_when_it_has_reported() {
    let mut site = Site::start(&HELLO, &["-F", "2", "--canary", "0", "--ready-after", "250ms"]).expect("it is ours");
    let before = site.serving();
    site.deploy(&format!("sleep 1; {DIES}"));
    let (status, message) = site.reload();
    assert!(status == Some(1) && message.contains("worker 1 ") && message.contains(WHY), "{message}");
    site.has_failed(&before, WHY);
    site.deploy(&format!("sleep 0.7; exec {}", site.command));
    assert_eq!(site.reload(), (Some(0), String::new()));
    site.has_replaced(&before);
    site.has_lost_nothing();
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

/// A reload that comes while the first workers are starting, and fails, leaves them as they are.
#[test]
fn a_reload_during_the_start_does_not_keep_it_from_its_end() {
    let options = ["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status", "--ready-after", "1s", "-F", "2"];
    let mut launcher = Launcher::start_with(&options, &["@/program"], |dir| {
        write_executable(&dir.join("program"), "#!/bin/sh\nexec sleep 1000\n");
    });
    launcher.process.stderr().wait_for_line("a start", |line| line.contains("worker 2 ") && line.ends_with(" started"));
    write_executable(&launcher.path("program"), &format!("#!/bin/sh\n{DIES}\n"));
    launcher.process.signal(Signal::HUP);
    launcher.process.stderr().wait_for_line("the end of the start", |line| line.ends_with("ready, 2 of 2 workers up"));
    eventually("a pid file", || launcher.path("pid").exists().then_some(()));
    launcher.process.stderr().wait_for_line("the end of the reload", |line| line.contains("reload failed: worker 1 "));
    let page = launcher.path("status");
    let (status, text) = run(&["--check", "--status", page.to_str().expect("a plain path")]);
    assert!(status == Some(0) && text.starts_with("2 of 2 workers up\nthe last reload failed: "), "{text}");
    assert_eq!(launcher.process.stop().code(), Some(0));
}

/// The program of the supervisor may be replaced at any time: the result of a reload is kept.
#[test]
fn the_result_of_a_reload_is_known_after_an_upgrade() {
    let mut site = Site::start(&HELLO, &["-F", "2", "--canary", "100ms"]).expect("it is ours");
    let before = site.serving();
    site.deploy(DIES);
    assert_eq!(site.reload().0, Some(1));
    let upgrade = |site: &mut Site, times: usize| {
        site.launcher.process.signal(Signal::USR2);
        let done = || site.launcher.process.stderr().text().matches("has taken over").count() == times;
        eventually("a new program", || done().then_some(()));
    };
    upgrade(&mut site, 1);
    eventually("a new page", || (site.check()["reload"]["number"] == 1).then_some(()));
    site.has_failed(&before, WHY);

    site.deploy_mended();
    let page = site.launcher.path("status");
    let mut reload = Process::start(launcher().args(["--reload", "--status"]).arg(page));
    site.launcher.process.stderr().wait_for_line("the end", |line| line.ends_with(": reloaded"));
    upgrade(&mut site, 2);
    assert_eq!(reload.wait_exit().code(), Some(0));
    let report = site.check();
    assert_eq!((&report["reload"]["number"], &report["reload"]["result"]), (&2.into(), &"done".into()), "{report}");
    site.has_lost_nothing();
    assert_eq!(site.launcher.process.stop().code(), Some(0));
}

/// On demand there may be no worker: there is nothing to prove.
#[test]
fn a_reload_without_workers_is_done() {
    let launcher = Launcher::start(&["-s", "@/app.sock", "--on-demand", "--status", "@/status"]);
    wait_until_it_listens(&Address::Unix(launcher.path("app.sock")));
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    let page = launcher.path("status");
    assert_eq!(run(&["--reload", "--status", page.to_str().expect("a plain path")]), (Some(0), "reloaded\n".into()));
}

/// Another one starts over, with the newest file; who waits for the first is told how the last one went.
#[test]
fn a_reload_starts_over() {
    let site = Site::start(&HELLO, &["-F", "2", "--canary", "3s"]).expect("it is ours");
    let page = site.launcher.path("status");
    site.deploy(&format!("sleep 1; {DIES}"));
    let mut first = Process::start(launcher().args(["--reload", "--status"]).arg(&page));
    site.launcher.process.stderr().wait_for_line("a reload", |line| line.contains("reloading: SIGHUP"));
    site.deploy_mended();
    assert_eq!(site.reload(), (Some(0), String::new()));
    assert_eq!(first.wait_exit().code(), Some(0));
}
