//! A hostile worker: what it may do to its supervisor, to another one beside it, and to root's files.
//!
//! Each test has two supervisors, of two users. The workers of the first are `hostile` (tests/hostile), which attacks
//! in the ways that the test names; the second serves with `hello`. During the attack the second has to respond to
//! each request in time. The first has to go on (its watchdog messages tell), to handle SIGHUP and SIGUSR1, and to stay
//! within its memory, descriptors and processor time; then it has to stop, and to start again, in time. Root's files
//! stay as they are.
//!
//! An attack takes some seconds here. `tests/run hostile` attacks for a minute, with the users `nobody` and `daemon`
//! and with the time limits that SECURITY.md promises: there, no other test shares the machine.

mod site;
mod watch;

use std::env;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fcgi_tests::{Signal, eventually, needs_root, once_is_enough, proc, repository};

use crate::hostile::site::Site;
use crate::launcher::Launcher;

/// The variable that sets the time of `all_attacks_at_once`, in seconds, and applies the limits of SECURITY.md to all
/// tests.
const SECONDS: &str = "FCGI_TEST_HOSTILE_SECONDS";

/// The supervisor's `--stop-timeout`.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What is promised, or how long is waited where other tests share the machine.
#[derive(Clone, Copy, Debug)]
struct Limits {
    attack: Duration,
    /// A response of the good application.
    response: Duration,
    /// Between two watchdog messages, which are due every half second.
    gap: Duration,
    /// From SIGHUP to the end of the reload, or to its failure.
    reload: Duration,
    /// From SIGTERM to the end.
    stop: Duration,
    /// From the start to workers that are up, or to a refusal.
    start: Duration,
    /// In KiB.
    rss: u64,
    descriptors: usize,
    /// Of one processor.
    load: f64,
    /// Whether it is stopped and started under attack.
    starts_again: bool,
}

impl Limits {
    fn here() -> Self {
        let second = Duration::from_secs(1);
        let limits = Limits {
            attack: 2 * second,
            response: 20 * second,
            gap: 20 * second,
            reload: 60 * second,
            stop: STOP_TIMEOUT + 20 * second,
            start: 60 * second,
            rss: 16 << 10,
            descriptors: 200,
            load: 0.5,
            starts_again: true,
        };
        if !Self::is_alone() {
            return limits;
        }
        Limits {
            attack: 5 * second,
            response: 2 * second,
            gap: 2 * second,
            // A process that is stopped on its way to the program has 5 s; the other worker and the stops have the rest.
            reload: 10 * second,
            stop: STOP_TIMEOUT + 2 * second,
            start: 10 * second,
            ..limits
        }
    }

    /// The same with the time of the whole attack.
    fn for_all_attacks() -> Self {
        let seconds = env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
        Limits { attack: Duration::from_secs(seconds.unwrap_or(6)), ..Self::here() }
    }

    /// Whether nothing else runs as the usual users.
    fn is_alone() -> bool {
        env::var_os(SECONDS).is_some()
    }
}

/// Options by which workers that end are started again at once.
const RESTARTS: &[&str] = &["--restart-delay", "20ms", "--backoff-after", "off"];

/// Attacks, and reports everything that is not as promised.
#[track_caller]
fn attack(options: &[&str], attacks: &[&str]) {
    attack_within(Limits::here(), options, attacks);
}

#[track_caller]
fn attack_within(limits: Limits, options: &[&str], attacks: &[&str]) {
    // One after the other: each loads the machine.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let faults = Site::new(limits).withstands(options, attacks);
    assert!(faults.is_empty(), "under {attacks:?}:\n{}", faults.join("\n"));
}

/// A new worker has its user before it executes the program, and a signal can stop it there: nothing waits for it.
#[test]
fn a_worker_that_stops_starting_processes_blocks_no_reload() {
    needs_root!();
    attack_within(Limits { starts_again: false, ..Limits::here() }, RESTARTS, &["freeze", "churn"]);
}

#[test]
fn a_worker_that_stops_starting_processes_blocks_no_start() {
    needs_root!();
    attack_within(Limits { attack: Duration::ZERO, ..Limits::here() }, RESTARTS, &["freeze", "churn"]);
}

#[test]
fn descriptors_from_a_worker_are_not_kept() {
    needs_root!();
    attack(RESTARTS, &["descriptors", "siblings"]);
}

#[test]
fn a_flooded_report_channel_costs_little() {
    needs_root!();
    attack(RESTARTS, &["report"]);
}

/// Copying what workers write is the supervisor's work, and takes as much of a processor as they take of another.
#[test]
fn flooded_output_delays_nothing() {
    needs_root!();
    attack_within(Limits { load: f64::INFINITY, ..Limits::here() }, RESTARTS, &["torrent", "orphans"]);
}

#[test]
fn symlinks_in_place_of_files_are_not_followed() {
    needs_root!();
    attack(&[], &["symlinks"]);
}

#[test]
fn fifos_in_place_of_files_block_nothing() {
    needs_root!();
    attack(&[], &["fifos"]);
}

#[test]
fn hard_links_in_place_of_files_are_not_written() {
    needs_root!();
    attack(&[], &["links"]);
}

#[test]
fn exchanged_directories_are_not_followed() {
    needs_root!();
    attack(&[], &["directories"]);
}

#[test]
fn a_listener_that_was_shut_down_keeps_nothing_busy() {
    needs_root!();
    attack(&["--on-demand"], &["listener"]);
}

#[test]
fn a_worker_that_ignores_signals_is_stopped_in_time() {
    needs_root!();
    attack(RESTARTS, &["deaf", "orphans"]);
}

#[test]
fn processes_and_files_of_others_are_out_of_reach() {
    needs_root!();
    attack(RESTARTS, &["intrude", "churn"]);
}

#[test]
fn all_attacks_at_once() {
    needs_root!();
    let mut attacks = vec!["freeze", "siblings", "churn", "deaf", "orphans", "output", "report", "descriptors"];
    attacks.extend(["listener", "symlinks", "fifos", "links", "directories", "locks", "intrude"]);
    attack_within(Limits::for_all_attacks(), RESTARTS, &attacks);
}

/// With `CLONE_PARENT` a worker makes children of the supervisor, which has to reap them. Each leaves a process of its own
/// for a moment.
#[cfg(target_arch = "x86_64")]
#[test]
fn children_that_a_worker_makes_ours_delay_no_stop() {
    needs_root!();
    let script = r#"
        use POSIX;
        $SIG{TERM} = 'IGNORE';
        sub clone { return syscall(56, 0x8000 | SIGCHLD, 0, 0, 0, 0) }
        for (1 .. 300) { if (!fork()) { sleep 60; POSIX::_exit(0) } }
        for (1 .. 3) {
            next if clone();
            alarm(30);
            while (1) {
                my $pid = clone();
                if ($pid == 0) {
                    setsid();
                    if (!fork()) { select(undef, undef, undef, 0.03) }
                    POSIX::_exit(0);
                }
                select(undef, undef, undef, 0.001) if $pid < 0;
            }
        }
        sleep 60;
    "#;
    let user = (44_000 + std::process::id() % 10_000).to_string();
    let limited = "ulimit -u 1000; exec perl -e \"$1\"";
    let options = ["-s", "@/app.sock", "-u", &user, "-g", &user, "--stop-timeout", "1s"];
    let mut launcher = Launcher::start_program(&options, &["/bin/sh", "-c", limited, "sh", script]);
    let supervisor = launcher.process.pid();
    eventually("children of a worker's making", || (proc::children(supervisor).len() > 2).then_some(()));
    let began = Instant::now();
    launcher.process.signal(Signal::TERM);
    launcher.process.wait_exit_within(Duration::from_secs(60));
    // A second for the workers, two as promised, and some for a machine on which other tests run; it took 19 s before.
    assert!(began.elapsed() < Duration::from_secs(10), "the stop took {:?}", began.elapsed());
}

/// The tests that a page names, as `file.rs: test` in a span of code.
fn tests_in(page: &str) -> Vec<(String, String)> {
    let spans = page.split('`').skip(1).step_by(2);
    let named = spans.filter_map(|span| span.split_once(".rs: "));
    named.map(|(file, test)| (format!("{file}.rs"), test.to_owned())).collect()
}

#[test]
fn the_security_page_names_tests_that_are_there() {
    once_is_enough!();
    let page = fs::read_to_string(repository().join("SECURITY.md")).expect("the page");
    let named = tests_in(&page);
    assert!(named.len() >= 10, "{named:?}");
    for (file, test) in named {
        let source = fs::read_to_string(repository().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let found = source.contains(&format!("fn {test}(")) || source.contains(&format!("{test}: "));
        assert!(found, "{file} has no test {test}");
    }
}

#[test]
fn tests_are_found_in_a_page() {
    let page = "Promised (`tests/suite/a.rs: b_c`); see `tests/run` and `x.rs`.";
    assert_eq!(tests_in(page), [("tests/suite/a.rs".to_owned(), "b_c".to_owned())]);
}
