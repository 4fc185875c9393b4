use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::*;
use crate::{Address, Error};

/// A fleet, and the supervisor that it thinks it has: everything succeeds, and pids are counted.
struct Play {
    fleet: Fleet,
    now: Instant,
    pids: i32,
    said: Vec<String>,
    asked: Vec<i32>,
    killed: Vec<i32>,
    held: Vec<i32>,
    /// What a look at a group finds.
    left: Left,
    /// What a look for clients finds.
    clients: Clients,
    ups: u32,
    fails: Vec<String>,
    looks: u32,
    measured: Vec<i32>,
    /// Those that may not be killed.
    unkillable: Vec<i32>,
    /// Whether a connection waits.
    waits: bool,
    /// What becomes of a start.
    start: Start,
    /// The version of the program.
    version: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Works,
    /// The system refuses to fork.
    Refused,
    /// The program cannot be executed.
    Fails,
    /// The process is held up before the program.
    HeldUp,
}

impl Play {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut play = Self::prepare(change);
        play.tell(Event::Begin);
        play
    }

    fn prepare(change: impl FnOnce(&mut Config)) -> Self {
        Self::of(Fleet::new(rules(change), Random::new(7)), Instant::now())
    }

    /// The fleet that a successor takes over: these pids, each in its slot, for so many seconds.
    fn adopt(running: &[(usize, i32, u64)], change: impl FnOnce(&mut Config)) -> Self {
        let now = Instant::now() + seconds(100);
        let process = |pid, age| Process::adopted(Pid::for_test(pid), seconds(age), false, now);
        let running: Vec<_> = running.iter().map(|(slot, pid, age)| (*slot, process(*pid, *age))).collect();
        let mut fleet = Fleet::new(rules(change), Random::new(7));
        fleet.adopt(&running, now);
        Self::of(fleet, now)
    }

    fn of(fleet: Fleet, now: Instant) -> Self {
        Play {
            fleet,
            now,
            pids: 1000,
            said: Vec::new(),
            asked: Vec::new(),
            killed: Vec::new(),
            held: Vec::new(),
            left: Left::Parts,
            clients: Clients::ItsOwn,
            ups: 0,
            fails: Vec::new(),
            looks: 0,
            measured: Vec::new(),
            unkillable: Vec::new(),
            waits: false,
            start: Start::Works,
            version: 1,
        }
    }

    /// With all workers up.
    fn up(change: impl FnOnce(&mut Config)) -> Self {
        let mut play = Self::new(change);
        play.pass(life::UP_AFTER);
        assert_eq!((play.ups, play.fleet.phase), (1, Phase::Serving));
        play.said.clear();
        play
    }

    fn tell(&mut self, event: Event) {
        for action in self.fleet.on(event, self.now) {
            match action {
                Action::Start(slot) if self.start == Start::Refused => {
                    self.tell(Event::Refused { slot, error: Error::new("refused") });
                }
                Action::Start(slot) => {
                    self.pids += 1;
                    let pid = Pid::for_test(self.pids);
                    self.tell(Event::Forked { slot, pid, version: self.version });
                    match self.start {
                        Start::Works => self.tell(Event::Executed(pid)),
                        Start::Fails => {
                            self.tell(Event::NotExecuted {
                                pid,
                                error: Error::new("not executed"),
                                is_shortage: false,
                            });
                        }
                        Start::HeldUp | Start::Refused => {}
                    }
                }
                Action::Identify(_) => {}
                Action::LookForClients(pid) => {
                    self.looks += 1;
                    self.tell(Event::Served { pid, clients: self.clients, cost: Duration::ZERO });
                }
                Action::Hold(pid) => self.held.push(pid.number()),
                Action::Release(pid) => self.held.retain(|held| *held != pid.number()),
                Action::Ask(pid) => self.asked.push(pid.number()),
                Action::Kill(pid) => {
                    self.killed.push(pid.number());
                    let refused = self.unkillable.contains(&pid.number()).then(|| "not permitted".to_owned());
                    self.tell(Event::Signalled { pid, refused });
                }
                Action::LookAtGroup(pid) => self.tell(Event::Looked { pid, left: self.left }),
                Action::LookAtListener => {
                    self.looks += 1;
                    self.tell(Event::Waiting(self.waits));
                }
                Action::Measure(pid) => self.measured.push(pid.number()),
                Action::Say(note) => self.said.push(note.to_string()),
                Action::Up => self.ups += 1,
                Action::Fail(error) => self.fails.push(error.to_string()),
            }
        }
    }

    /// Lets time pass, with a tick at each deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.fleet.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.tell(Event::Tick);
            assert!(self.fleet.deadline().is_none_or(|next| next > self.now), "it spins");
        }
        self.now = end;
    }

    fn end(&mut self, pid: i32, status: i32) {
        self.end_with(pid, status, Left::Nothing);
    }

    fn end_with(&mut self, pid: i32, status: i32, left: Left) {
        let (pid, status) = (Pid::for_test(pid), ExitStatus::from_raw(status));
        self.tell(Event::Ended { pid, status, left, said: Some("no such module".into()) });
    }

    fn ready(&mut self, pid: i32) {
        self.tell(Event::Ready(Pid::for_test(pid)));
    }

    /// The pids of those that serve.
    fn serving(&self) -> Vec<i32> {
        self.fleet.slots.iter().filter_map(|slot| Some(slot.worker.process()?.pid.number())).collect()
    }

    fn measure(&mut self, pid: i32, usage: Usage) {
        self.tell(Event::Measured { pid: Pid::for_test(pid), usage, reported: Reported::Nothing });
    }
}

fn rules(change: impl FnOnce(&mut Config)) -> Rules {
    let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
    (config.canary, config.ready_after) = (Duration::ZERO, Some(life::UP_AFTER));
    change(&mut config);
    Rules::of(&config)
}

const FAILURE: i32 = 1 << 8;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn nothing_is_awaited_once_all_are_up() {
    let mut play = Play::new(|config| config.workers = 3);
    assert_eq!((play.serving(), play.ups), (vec![1001, 1002, 1003], 0));
    (1001..=1003).for_each(|pid| play.ready(pid));
    assert_eq!((play.ups, play.fleet.deadline()), (1, None));
}

#[test]
fn a_program_that_cannot_be_executed_is_the_end_of_the_first_start_only() {
    for (start, why) in [(Start::Fails, "not executed"), (Start::Refused, "refused")] {
        let mut play = Play::prepare(|config| config.workers = 2);
        play.start = start;
        play.tell(Event::Begin);
        assert_eq!((&play.fails[0][..], play.fleet.phase), (why, Phase::Stopping));

        let mut play = Play::up(|config| config.workers = 2);
        play.start = start;
        play.end(1001, FAILURE);
        play.pass(seconds(5));
        assert!(play.fails.is_empty());
        play.start = Start::Works;
        play.pass(seconds(5));
        assert_eq!(play.serving(), [play.pids, 1002]);
    }
}

#[test]
fn a_refused_start_does_not_count_against_the_program() {
    let mut play = Play::up(|config| (config.give_up, config.backoff_after) = (Some(2), Some(1)));
    play.start = Start::Refused;
    play.end(1001, FAILURE);
    for _ in 0..20 {
        play.pass(seconds(5));
    }
    assert_eq!(play.fleet.phase, Phase::Serving);
    play.start = Start::Works;
    play.pass(seconds(5));
    assert_eq!(play.serving(), [1002]);
}

#[test]
fn a_process_that_is_held_up_before_the_program_is_killed() {
    let mut play = Play::up(|_| ());
    play.start = Start::HeldUp;
    play.end(1001, FAILURE);
    play.pass(seconds(5));
    assert_eq!((&play.serving()[..], &play.killed[..]), (&[1002][..], &[][..]));
    play.pass(worker::LAUNCH);
    assert_eq!((&play.serving()[..], &play.killed[..]), (&[][..], &[1002][..]));
    let why = "worker 1: pid 1002 did not execute the program within 5s, and is killed";
    assert!(play.said.iter().any(|line| line.starts_with(why)), "{:?}", play.said);
    play.end(1002, libc::SIGKILL);
    play.start = Start::Works;
    play.pass(seconds(5));
    assert_eq!((&play.serving()[..], play.fleet.stopping.len()), (&[1003][..], 0));
    assert!(!play.said.iter().any(|line| line.contains("does not stop")), "{:?}", play.said);

    // In a reload the old one stays.
    play.pass(seconds(60));
    play.start = Start::HeldUp;
    play.tell(Event::Reload(Cause::Asked));
    play.pass(worker::LAUNCH);
    assert_eq!((&play.serving()[..], &play.killed[..]), (&[1003][..], &[1002, 1004][..]));
    let last = play.said.last().map(String::as_str).unwrap_or_default();
    assert!(last.starts_with("reload failed: worker 1: pid 1004 did not execute the program within 5s"), "{last}");
}

#[test]
fn a_process_that_is_held_up_is_stopped_like_others() {
    let mut play = Play::prepare(|_| ());
    play.start = Start::HeldUp;
    play.tell(Event::Begin);
    play.tell(Event::Stop);
    assert_eq!((&play.asked[..], play.fleet.is_over()), (&[1001][..], false));
    play.pass(seconds(10));
    assert_eq!(play.killed, [1001]);
    play.end(1001, libc::SIGKILL);
    assert!(play.fleet.is_over());
}

#[test]
fn a_process_that_cannot_be_killed_is_reported_and_not_waited_for() {
    let mut play = Play::up(|_| ());
    play.unkillable = vec![1001];
    play.tell(Event::Stop);
    play.pass(seconds(10));
    assert_eq!((play.fleet.is_over(), play.fleet.exit_status()), (true, 1));
    let why = "worker 1 (pid 1001) does not stop and cannot be killed: not permitted; left running";
    assert_eq!(play.said.last().map(String::as_str), Some(why));
    assert!(!play.said.iter().any(|line| line.ends_with("killed")), "{:?}", play.said);

    // One that was killed and does not end: the disk that it waits for may be gone.
    let mut play = Play::up(|_| ());
    play.tell(Event::Stop);
    play.pass(seconds(10) + Duration::from_millis(800));
    assert!(!play.fleet.is_over());
    play.pass(Duration::from_millis(100));
    assert!(play.fleet.is_over(), "a stop ends within the stop timeout and 2 s");
    assert!(play.said.iter().any(|line| line == "worker 1 (pid 1001) does not stop, killed"), "{:?}", play.said);
}

/// Of a shell that cannot find the program the first start fails, and nothing else does.
#[test]
fn only_the_first_start_fails_with_the_shells_status() {
    let shell = |config: &mut Config| {
        config.program = crate::Program::Shell(c"program".into());
        config.workers = 2;
    };
    for (status, fails) in [(1, 0), (125, 0), (126, 1), (127, 1), (128, 0)] {
        let mut play = Play::new(shell);
        play.end(1001, status << 8);
        assert_eq!((play.fails.len(), play.fleet.phase == Phase::Stopping), (fails, fails == 1), "{status}");
    }
    let mut play = Play::up(shell);
    play.end(1001, 127 << 8);
    assert_eq!((play.fails.len(), play.fleet.phase), (0, Phase::Serving));
}

#[test]
fn the_ends_of_each_worker_are_counted() {
    let mut play = Play::up(|config| config.workers = 2);
    for (ends, pid) in [(1, 1001), (2, 1003), (3, 1004)] {
        play.end(pid, FAILURE);
        play.pass(seconds(5) + life::UP_AFTER);
        assert_eq!(play.fleet.slots.iter().map(|slot| slot.ends).collect::<Vec<_>>(), [ends, 0]);
    }
}

/// Less than what is configured, so that not all workers are replaced at the same moment.
#[test]
fn the_limit_of_memory_is_never_exceeded() {
    let mut play = Play::up(|config| config.max_rss = Some(1000));
    play.measure(1001, Usage { rss: 900, work: 0, connected: false });
    assert_eq!(play.pids, 1001);
    play.measure(1001, Usage { rss: 1000, work: 0, connected: false });
    assert_eq!(play.pids, 1002);
}

#[test]
fn a_stop_starts_nothing() {
    let mut play = Play::up(|_| ());
    play.tell(Event::Stop);
    for event in [Event::OneMore, Event::OneLess, Event::Reload(Cause::Asked), Event::Waiting(true), Event::OneMore] {
        play.tell(event);
    }
    play.end(1001, 0);
    play.pass(seconds(100));
    assert_eq!((play.pids, play.fleet.is_over(), play.serving()), (1001, true, vec![]));
}

#[test]
fn reloads_go_on_though_an_old_process_never_ends() {
    let mut play = Play::up(|config| (config.workers, config.stop_timeout) = (2, None));
    for _ in 0..50 {
        play.pass(seconds(1));
        play.tell(Event::Reload(Cause::Asked));
    }
    play.pass(seconds(60));
    assert_eq!(play.said.iter().filter(|line| *line == "reloaded").count(), 1, "{:?}", play.said);
    assert!(play.serving().iter().all(|pid| *pid > 1002) && play.fleet.rolling.is_over());
}

#[test]
fn a_shell_that_cannot_execute_the_program_is_the_end_too() {
    let mut play = Play::new(|config| config.program = crate::Program::Shell(c"app".into()));
    play.end(1001, 127 << 8);
    assert_eq!((play.fails.len(), play.fleet.is_over(), &play.asked[..]), (1, true, &[][..]));
}

#[test]
fn one_that_always_fails_does_not_keep_the_first_start_waiting() {
    let mut play = Play::new(|config| config.workers = 2);
    play.ready(1001);
    assert_eq!(play.ups, 0);
    play.end(1002, FAILURE);
    assert_eq!(play.ups, 1);
}

#[test]
fn backoff_is_said_once_per_change() {
    let mut play = Play::up(|config| config.backoff_after = Some(3));
    for _ in 0..12 {
        play.end(play.pids, FAILURE);
        let waits = play.fleet.deadline().expect("a start") - play.now;
        play.pass(waits);
    }
    let pauses: Vec<_> = play.said.iter().filter_map(|line| line.split_once("restart in ")).collect();
    let pauses: Vec<_> = pauses.iter().filter_map(|(_, rest)| rest.split(':').next()).collect();
    // The second and the last of them have the start that was reported before.
    assert_eq!((pauses.len(), pauses[0], pauses[1]), (10, "5s", "5s"), "{pauses:?}");
    assert!(pauses[2].starts_with("10s") && pauses[8] == pauses[9], "{pauses:?}");
}

#[test]
fn giving_up_stops_the_others_and_is_a_failure() {
    let mut play = Play::up(|config| (config.workers, config.give_up) = (2, Some(1)));
    play.end(1002, FAILURE);
    assert_eq!((&play.asked[..], play.fleet.is_over()), (&[1001][..], false));
    play.end(1001, 0);
    assert_eq!((play.fleet.is_over(), play.fleet.exit_status()), (true, 1));
}

#[test]
fn a_stop_is_asked_for_then_killed() {
    let mut play = Play::up(|config| config.workers = 2);
    play.tell(Event::Stop);
    assert_eq!(play.asked, [1001, 1002]);
    play.end(1001, libc::SIGTERM);
    play.pass(seconds(9));
    assert!(play.killed.is_empty() && !play.fleet.is_over());
    play.pass(seconds(1));
    assert_eq!((&play.killed[..], play.fleet.is_over()), (&[1002][..], false));
    play.end(1002, libc::SIGKILL);
    assert_eq!((play.fleet.is_over(), play.fleet.exit_status()), (true, 1));
}

#[test]
fn a_second_stop_shortens_it() {
    let mut play = Play::up(|_| ());
    play.tell(Event::Stop);
    play.tell(Event::Stop);
    assert_eq!(play.asked, [1001, 1001]);
    play.pass(seconds(1));
    assert_eq!(play.killed, [1001]);
}

#[test]
fn what_a_worker_leaves_in_its_group_goes_too() {
    let mut play = Play::up(|_| ());
    play.tell(Event::Stop);
    play.end_with(1001, libc::SIGTERM, Left::Parts);
    assert!(!play.fleet.is_over());
    play.pass(seconds(10));
    assert_eq!((&play.killed[..], play.fleet.is_over(), play.fleet.exit_status()), (&[1001][..], false, 1));
    // One was started before the others were killed.
    play.pass(Duration::from_millis(100));
    assert_eq!(play.killed, [1001, 1001]);
    play.left = Left::Nothing;
    play.pass(Duration::from_millis(100));
    assert_eq!((&play.killed[..], play.fleet.is_over()), (&[1001, 1001][..], true));
    assert_eq!(play.said.iter().filter(|line| line.ends_with("does not stop, killed")).count(), 1);

    let mut play = Play::up(|_| ());
    play.end_with(1001, libc::SIGSEGV, Left::Parts);
    assert_eq!((&play.asked[..], &play.serving()[..]), (&[1001][..], &[][..]));
    play.pass(seconds(10));
    assert_eq!((&play.killed[..], &play.serving()[..]), (&[1001][..], &[1002][..]));
    play.left = Left::Helpers;
    play.pass(Duration::from_millis(100));
    play.tell(Event::Stop);
    play.end(1002, 0);
    assert!(!play.fleet.is_over(), "what is left may be of another program");
    play.left = Left::Nothing;
    play.pass(Duration::from_millis(100));
    assert_eq!((play.fleet.is_over(), play.fleet.exit_status()), (true, 0));
}

/// Each part of a worker that is left is asked, what else it has started is not.
#[test]
fn helpers_go_on_until_all_is_stopped() {
    let mut play = Play::up(|_| ());
    play.end_with(1001, 1 << 8, Left::Helpers);
    assert_eq!((&play.asked[..], play.fleet.stopping.len()), (&[][..], 1));
    let why = "worker 1 (pid 1001) has left processes of other programs in its group, which go on until all is stopped";
    assert!(play.said.iter().any(|line| line == why), "{:?}", play.said);
    play.left = Left::Helpers;
    play.pass(seconds(100));
    assert_eq!((&play.asked[..], &play.killed[..], play.serving()), (&[][..], &[][..], vec![1002]));
    assert!(play.fleet.is_settled(), "nothing is awaited");
    // What has ended of it is forgotten when another worker leaves something.
    play.left = Left::Nothing;
    play.end_with(1002, 1 << 8, Left::Helpers);
    assert_eq!(play.fleet.stopping.iter().map(|stopping| stopping.process.pid.number()).collect::<Vec<_>>(), [1002]);
    play.left = Left::Helpers;
    play.pass(seconds(100));
    play.tell(Event::Stop);
    play.end(1003, 0);
    assert_eq!((&play.asked[..], play.fleet.is_over()), (&[1002, 1003][..], false));
    play.pass(seconds(10));
    play.left = Left::Nothing;
    play.pass(Duration::from_millis(100));
    assert_eq!((&play.killed[..], play.fleet.is_over()), (&[1002][..], true));
}

/// A stop that has begun is over in its time, though a worker ends while it is waited for.
#[test]
fn what_a_draining_worker_leaves_is_killed_in_time() {
    let mut play = Play::up(|config| config.stop_timeout = Some(seconds(10)));
    play.clients = Clients::Some;
    play.tell(Event::Stop);
    play.pass(Duration::from_millis(4900));
    play.end_with(1001, 0, Left::Parts);
    play.pass(Duration::from_millis(5099));
    assert_eq!(play.killed, []);
    play.pass(Duration::from_millis(1));
    assert_eq!(play.killed, [1001]);
    play.pass(seconds(2));
    assert!(play.fleet.is_over());
}

/// They are looked at from time to time: one may have started another and ended.
#[test]
fn helpers_are_followed() {
    let mut play = Play::up(|_| ());
    play.left = Left::Helpers;
    play.end_with(1001, 1 << 8, Left::Helpers);
    play.pass(seconds(20));
    assert_eq!(play.fleet.stopping.len(), 1);
    play.left = Left::Nothing;
    play.pass(seconds(10));
    assert_eq!(play.fleet.stopping.len(), 0);
}

/// A successor goes on with what it has not seen end.
#[test]
fn helpers_are_handed_over() {
    let mut play = Play::up(|_| ());
    assert_eq!(play.fleet.helpers().count(), 0);
    play.end_with(1001, 1 << 8, Left::Helpers);
    assert_eq!(play.fleet.helpers().collect::<Vec<_>>(), [(0, Pid::for_test(1001))]);

    let mut play = Play::adopt(&[(0, 900, 20)], |_| ());
    let now = play.now;
    play.fleet.adopt_helpers(7, Pid::for_test(800), now);
    play.left = Left::Helpers;
    play.pass(seconds(20));
    assert_eq!((&play.asked[..], play.fleet.is_settled()), (&[][..], true));
    play.tell(Event::Stop);
    assert_eq!(play.asked, [800, 900]);
    play.end(900, 0);
    assert!(!play.fleet.is_over());
    play.left = Left::Nothing;
    play.pass(Duration::from_millis(100));
    assert!(play.fleet.is_over());
}

/// The number of a group without processes is given to another one.
#[test]
fn a_new_process_is_not_taken_for_what_was_left() {
    let mut play = Play::up(|_| ());
    play.end_with(1001, 1 << 8, Left::Helpers);
    play.pids = 1000;
    play.pass(seconds(5));
    assert_eq!((play.serving(), play.fleet.stopping.len()), (vec![1001], 0));
    play.tell(Event::Stop);
    play.end(1001, 0);
    assert!(play.fleet.is_over());
}

/// A process that has clients is asked when it has none, and is held for that moment.
#[test]
fn a_process_with_clients_is_asked_later() {
    let mut play = Play::up(|config| config.workers = 2);
    play.clients = Clients::Some;
    play.tell(Event::OneLess);
    play.pass(seconds(4));
    assert_eq!((&play.asked[..], &play.held[..]), (&[][..], &[][..]));
    play.clients = Clients::None;
    play.tell(Event::Served { pid: Pid::for_test(1002), clients: Clients::None, cost: Duration::ZERO });
    assert_eq!((&play.asked[..], &play.held[..]), (&[][..], &[1002][..]));
    play.pass(Duration::from_millis(1));
    assert_eq!((&play.asked[..], &play.held[..]), (&[1002][..], &[][..]));

    // At the latest after the time it has for that.
    play.clients = Clients::Some;
    play.tell(Event::Reload(Cause::Asked));
    play.ready(1003);
    play.pass(Duration::from_millis(4999));
    assert_eq!(play.asked, [1002]);
    play.pass(Duration::from_millis(1));
    assert_eq!((&play.asked[..], &play.killed[..]), (&[1002, 1001][..], &[][..]));
    play.pass(seconds(10));
    assert_eq!(play.killed, [1002, 1001]);
}

/// Half of the time stays for those that do not end when they are asked, and a second request ends it.
#[test]
fn a_stop_does_not_wait_for_clients_for_ever() {
    for hurry in [false, true] {
        let mut play = Play::up(|config| (config.workers, config.stop_timeout) = (2, Some(seconds(4))));
        play.clients = Clients::Some;
        play.tell(Event::OneLess);
        play.tell(Event::Stop);
        play.pass(Duration::from_millis(1999));
        assert_eq!((&play.asked[..], &play.held[..]), (&[][..], &[][..]));
        if hurry {
            play.tell(Event::Stop);
            assert_eq!(play.asked, [1002, 1001]);
            play.pass(Duration::from_millis(999));
            assert_eq!(play.killed, []);
            play.pass(Duration::from_millis(1));
        } else {
            play.pass(Duration::from_millis(1));
            assert_eq!((&play.asked[..], &play.killed[..]), (&[1002, 1001][..], &[][..]));
            play.pass(seconds(2));
        }
        assert_eq!(play.killed, [1002, 1001]);
    }
}

#[test]
fn that_clients_cannot_be_seen_is_reported_once() {
    let mut play = Play::up(|config| config.workers = 3);
    play.clients = Clients::Unseen;
    play.tell(Event::OneLess);
    play.tell(Event::OneLess);
    assert_eq!(play.asked, [1003, 1002]);
    let why = "the clients of workers cannot be seen in /proc: workers are asked to stop at once";
    assert_eq!(play.said.iter().filter(|line| *line == why).count(), 1);
}

/// The looks at many take turns.
#[test]
fn many_that_drain_are_looked_at_more_seldom() {
    for (workers, most) in [(1, 100), (50, 150)] {
        let mut play = Play::up(|config| config.workers = workers);
        play.clients = Clients::Some;
        play.tell(Event::Stop);
        play.looks = 0;
        play.pass(seconds(1));
        assert!((most / 2..=most).contains(&play.looks), "{workers} workers: {} looks", play.looks);
    }
}

#[test]
fn a_reload_replaces_one_after_the_other() {
    let mut play = Play::up(|config| config.workers = 2);
    play.pass(seconds(1));
    play.tell(Event::Reload(Cause::Asked));
    assert_eq!((&play.serving()[..], &play.asked[..], play.pids), (&[1001, 1002][..], &[][..], 1003));
    play.ready(1003);
    assert_eq!((&play.serving()[..], &play.asked[..], play.pids), (&[1003, 1002][..], &[1001][..], 1003));
    play.end(1001, 0);
    assert_eq!(play.pids, 1004, "the next one's turn begins when the old one is gone");
    play.pass(life::UP_AFTER);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1003, 1004][..], &[1001, 1002][..]));
    play.end(1002, 0);
    assert_eq!(play.said.last().map(String::as_str), Some("reloaded"));
    assert!(play.fleet.is_settled() && play.fleet.deadline().is_none());
}

#[test]
fn a_reload_that_fails_keeps_the_old_ones() {
    for refuse in [true, false] {
        let mut play = Play::up(|config| config.workers = 2);
        play.pass(seconds(1));
        play.start = if refuse { Start::Refused } else { Start::Works };
        play.tell(Event::Reload(Cause::Asked));
        if !refuse {
            play.end(1003, FAILURE);
        }
        assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001, 1002][..], &[][..]));
        let why = if refuse { "refused" } else { "(pid 1003) exited 1 after 0s, and said 'no such module'" };
        let last = play.said.last().map(String::as_str).unwrap_or_default();
        assert!(last.starts_with("reload failed: worker 1") && last.contains(why), "{last}");
        assert!(play.fleet.is_settled() && play.fleet.deadline().is_none());
    }
}

#[test]
fn a_reload_ends_a_pause() {
    let mut play = Play::up(|_| ());
    play.end(1001, FAILURE);
    assert!(play.serving().is_empty());
    play.tell(Event::Reload(Cause::Changed));
    assert_eq!((play.serving(), play.said.last().map(String::as_str)), (vec![1002], Some("reloaded")));
}

#[test]
fn a_reload_takes_the_place_of_the_one_before() {
    let mut play = Play::up(|_| ());
    for _ in 0..3 {
        play.pass(Duration::from_millis(1));
        play.tell(Event::Reload(Cause::Asked));
    }
    assert_eq!((&play.asked[..], play.pids), (&[1002, 1003][..], 1004), "each starts over with the newest file");
    play.ready(1004);
    [1002, 1003, 1001].into_iter().for_each(|pid| play.end(pid, 0));
    assert_eq!(play.said.iter().filter(|line| *line == "reloaded").count(), 1);
    assert_eq!((play.serving(), play.fleet.rolling.is_over()), (vec![1004], true));
}

#[test]
fn one_more_and_one_less() {
    let mut play = Play::up(|_| ());
    play.tell(Event::OneLess);
    assert_eq!(play.serving(), [1001], "one stays");
    play.tell(Event::OneMore);
    play.tell(Event::OneMore);
    assert_eq!(play.serving(), [1001, 1002, 1003]);
    play.tell(Event::OneLess);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001, 1002][..], &[1003][..]));
    play.end(1003, 0);
    play.tell(Event::OneMore);
    assert_eq!((play.serving(), play.fleet.slots.len()), (vec![1001, 1002, 1004], 3));
}

#[test]
fn old_workers_are_replaced_one_at_a_time() {
    let mut play = Play::up(|config| (config.workers, config.max_age) = (2, Some(seconds(100))));
    play.pass(seconds(89));
    assert_eq!(play.pids, 1002);
    play.pass(seconds(11));
    assert_eq!((play.pids, play.asked.len()), (1003, 1), "the other one waits for the first to be gone");
    play.end(play.asked[0], 0);
    play.pass(life::UP_AFTER);
    assert_eq!((play.pids, play.asked.len()), (1004, 2));
    assert!(play.said.iter().all(|line| !line.contains("reload")), "{:?}", play.said);
}

#[test]
fn large_workers_are_replaced() {
    let mut play = Play::up(|config| config.max_rss = Some(1000));
    play.pass(MEMORY_LOOK);
    assert_eq!(play.measured, [1001]);
    play.measure(1001, Usage { rss: 900, ..Usage::default() });
    // The limit of each worker is a little less, so that not all are replaced at once.
    let most = play.fleet.slots[0].max_rss.expect("a limit");
    assert!((900..=1000).contains(&most), "{most}");
    play.measure(1001, Usage { rss: most, ..Usage::default() });
    assert_eq!(play.pids, 1001);
    play.measure(1001, Usage { rss: most + 1, ..Usage::default() });
    assert_eq!(play.pids, 1002);
}

#[test]
fn workers_come_on_demand_and_go_when_idle() {
    let mut play = Play::new(|config| {
        (config.workers, config.on_demand, config.idle) = (2, true, Some(seconds(80)));
    });
    assert_eq!((play.ups, play.pids), (1, 1000));
    assert!(play.fleet.watches_listener() && play.fleet.deadline().is_none());
    play.tell(Event::Waiting(true));
    assert_eq!((play.pids, play.fleet.watches_listener()), (1001, false));
    play.ready(1001);
    play.waits = true;
    play.pass(seconds(1));
    assert_eq!((play.looks, play.pids, play.fleet.watches_listener()), (1, 1002, false));
    play.ready(1002);
    play.waits = false;
    play.pass(seconds(1));
    assert!(!play.fleet.watches_listener(), "there are as many as there may be");

    let usage = |work| Usage { rss: 0, work, connected: false };
    for look in 0..9 {
        play.pass(seconds(10));
        play.measure(1001, usage(1));
        play.measure(1002, usage(look));
    }
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1002][..], &[1001][..]));
    assert!(play.fleet.watches_listener());
}

#[test]
fn one_less_on_demand_stops_none_that_still_may_be_there() {
    let mut play = Play::new(|config| {
        (config.workers, config.on_demand, config.idle) = (2, true, Some(seconds(80)));
    });
    play.tell(Event::Waiting(true));
    play.ready(1001);
    play.tell(Event::OneLess);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001][..], &[][..]));
    play.tell(Event::OneMore);
    assert_eq!(play.serving(), [1001], "it is started when it is needed");
    play.pass(seconds(1));
    // A connection that waits for a moment needs none.
    play.tell(Event::Waiting(true));
    assert_eq!(play.serving(), [1001]);
    play.tell(Event::Waiting(true));
    play.ready(1002);
    assert_eq!(play.serving(), [1001, 1002]);
}

/// A look at the listening socket may have been under way.
#[test]
fn there_are_never_more_on_demand_than_may_be() {
    let mut play = Play::new(|config| {
        (config.workers, config.on_demand, config.idle) = (1, true, Some(seconds(80)));
    });
    play.tell(Event::OneMore);
    play.tell(Event::OneLess);
    for _ in 0..3 {
        play.tell(Event::Waiting(true));
    }
    assert_eq!((play.serving(), play.fleet.slots.len()), (vec![1001], 2));
}

/// Of a program it is worth one line, whichever worker is seen first.
#[test]
fn a_program_that_wakes_by_itself_is_reported_once() {
    let mut play = Play::new(|config| {
        (config.workers, config.on_demand, config.idle) = (2, true, Some(seconds(80)));
    });
    for pid in [1001, 1002] {
        play.waits = true;
        play.tell(Event::Waiting(true));
        play.pass(seconds(1));
        play.ready(pid);
    }
    play.waits = false;
    for look in 0..30 {
        play.pass(seconds(10));
        for pid in [1001, 1002] {
            play.measure(pid, Usage { rss: 0, work: 3 * look, connected: false });
        }
    }
    let reports = play.said.iter().filter(|line| line.contains("was not idle for"));
    assert_eq!((play.serving(), reports.count()), (vec![1001, 1002], 1));
}

#[test]
fn strangers_change_nothing() {
    let mut play = Play::up(|_| ());
    play.end(4711, FAILURE);
    play.ready(4711);
    play.measure(4711, Usage { rss: u64::MAX, work: 0, connected: false });
    assert_eq!((play.serving(), play.fleet.deadline()), (vec![1001], None));
}

#[test]
fn a_successor_goes_on_with_the_workers_that_run() {
    // SIGTTIN had made two of one, and the first one has ended on the way.
    let mut play = Play::adopt(&[(2, 903, 10), (1, 902, 20)], |config| config.workers = 1);
    play.tell(Event::Tick);
    assert_eq!((play.serving(), play.pids, play.fleet.phase), (vec![902, 903], 1000, Phase::Serving));
    play.end(903, FAILURE);
    assert!(play.said[0].starts_with("worker 3 (pid 903) exited 1 after 10s"), "{:?}", play.said);

    let mut play = Play::adopt(&[(1, 902, 20)], |config| config.workers = 3);
    play.tell(Event::Tick);
    assert_eq!(play.serving(), [1001, 902, 1002]);

    let mut play = Play::adopt(&[(1, 902, 20)], |config| {
        (config.workers, config.on_demand, config.idle) = (3, true, Some(seconds(80)));
    });
    play.tell(Event::Tick);
    assert_eq!((play.serving(), play.fleet.watches_listener()), (vec![902], true));
    assert_eq!(play.fleet.deadline(), Some(play.now + FIRST_LOOK));
}

/// Only then may another program take this one's place.
#[test]
fn a_fleet_is_settled_when_no_process_comes_or_goes() {
    let mut play = Play::new(|config| config.workers = 2);
    play.ready(1001);
    assert!(!play.fleet.is_settled(), "the first start");
    play.ready(1002);
    assert!(play.fleet.is_settled());

    play.end(1001, FAILURE);
    assert!(play.fleet.is_settled(), "a pause");
    play.start = Start::HeldUp;
    play.pass(seconds(5));
    assert!(!play.fleet.is_settled(), "one is on its way to the program");
    play.tell(Event::Executed(Pid::for_test(1003)));
    assert!(!play.fleet.is_settled(), "it is not up");
    play.ready(1003);
    assert!(play.fleet.is_settled());

    play.start = Start::Works;
    play.pass(seconds(1));
    play.tell(Event::Reload(Cause::Asked));
    assert!(!play.fleet.is_settled(), "a reload");
    play.ready(1004);
    assert!(!play.fleet.is_settled(), "the old one is to stop");
    play.end(1003, 0);
    play.ready(1005);
    play.end(1002, 0);
    assert!(play.fleet.is_settled());
    play.tell(Event::OneLess);
    assert!(!play.fleet.is_settled(), "one is to stop");
    play.tell(Event::Stop);
    assert!(!play.fleet.is_settled());
}

#[test]
fn a_worker_without_a_heartbeat_is_replaced() {
    let mut play = Play::up(|config| config.workers = 2);
    let overdue = || Event::Overdue { pid: Pid::for_test(1002), time: seconds(9) };
    play.tell(overdue());
    let is_said = |line: &&String| line.starts_with("worker 2 (pid 1002) has had no heartbeat");
    assert_eq!(play.said.iter().filter(is_said).count(), 1, "{:?}", play.said);
    play.tell(overdue());
    assert_eq!(play.said.iter().filter(is_said).count(), 1, "another is on its way: {:?}", play.said);
    play.ready(1003);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001, 1003][..], &[1002][..]));
    play.tell(Event::Stop);
    play.said.clear();
    play.tell(Event::Overdue { pid: Pid::for_test(1001), time: seconds(9) });
    assert!(play.said.is_empty());
}

#[test]
fn a_worker_that_is_being_replaced_is_not_stopped_as_idle() {
    let usage = Usage { rss: 0, work: 1, connected: false };
    let mut play = Play::new(|config| {
        (config.workers, config.on_demand, config.idle) = (1, true, Some(seconds(80)));
    });
    play.tell(Event::Waiting(true));
    play.ready(1001);
    play.measure(1001, usage);
    play.pass(seconds(80));
    play.tell(Event::Reload(Cause::Asked));
    play.measure(1001, usage);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001][..], &[][..]));
    play.ready(1002);
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1002][..], &[1001][..]));
}

/// Each end that is reported has its start, and the number of those that are not is.
#[test]
fn a_crash_loop_is_summed_up() {
    let mut play = Play::up(|config| config.backoff_after = None);
    let round = |play: &mut Play, status| {
        play.end(play.pids, status);
        play.pass(seconds(6));
    };
    (0..5).for_each(|_| round(&mut play, FAILURE));
    let starts: Vec<_> = play.said.iter().filter(|line| line.ends_with("started")).collect();
    let ends: Vec<_> = play.said.iter().filter(|line| line.contains("exited")).collect();
    assert_eq!((play.pids, &starts[..]), (1006, &[&"worker 1 (pid 1002) started".to_owned()][..]), "{:?}", play.said);
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends[0].starts_with("worker 1 (pid 1001)") && ends[1].starts_with("worker 1 (pid 1002)"), "{ends:?}");
    play.said.clear();
    (0..60).for_each(|_| round(&mut play, FAILURE));
    assert_eq!(play.said, ["worker 1: the same 50 times more within 300s"]);
    play.said.clear();
    round(&mut play, 2 << 8);
    assert!(play.said[0].starts_with("worker 1: the same 13 times more within 84s"), "{:?}", play.said);
    assert!(play.said[1].ends_with(" started") && play.said[2].contains("exited 2 after 1s"), "{:?}", play.said);
    assert!(play.said[3].ends_with(" started"), "{:?}", play.said);
}

/// What was not reported of a crash loop is when it is over, and its last process was started.
#[test]
fn the_end_of_a_crash_loop_is_reported() {
    let looping = || {
        let mut play = Play::up(|config| config.backoff_after = None);
        for _ in 0..5 {
            play.end(play.pids, FAILURE);
            play.pass(seconds(6));
        }
        play.said.clear();
        play
    };
    let sum = "worker 1: the same 3 times more within 24s";
    let last = "worker 1 (pid 1006) started";

    let mut play = looping();
    play.pass(seconds(28));
    assert_eq!(play.said, [""; 0]);
    play.pass(seconds(1));
    assert_eq!(play.said, ["worker 1: the same 3 times more within 53s", last], "it lives");
    assert_eq!(play.fleet.deadline(), None);
    play.end(1006, FAILURE);
    assert!(play.said[2].starts_with("worker 1 (pid 1006) exited 1 after"), "{:?}", play.said);

    let mut play = looping();
    play.tell(Event::Reload(Cause::Asked));
    assert_eq!(play.said[..3], [sum, last, "reloading: SIGHUP"]);
    let mut play = looping();
    play.tell(Event::Stop);
    assert_eq!(play.said, [sum, last]);

    let mut play = Play::up(|config| (config.backoff_after, config.give_up) = (None, Some(5)));
    for _ in 0..5 {
        play.end(play.pids, FAILURE);
        play.pass(seconds(6));
    }
    let said: Vec<_> = play.said.iter().rev().take(3).collect();
    assert!(said[2].starts_with("worker 1: the same 2 times more"), "{said:?}");
    assert_eq!(said[1], "worker 1 (pid 1005) started");
    assert!(said[0].starts_with("worker 1 (pid 1005) exited 1 after 1s, giving up"), "{said:?}");
}

/// What ends as soon as it is started is not seen to execute the program; it was started all the same.
#[test]
fn the_shortest_lives_are_reported_like_others() {
    let mut play = Play::up(|config| config.backoff_after = None);
    play.start = Start::HeldUp;
    for _ in 0..5 {
        play.end(play.pids, FAILURE);
        play.pass(seconds(5));
    }
    let pids = |what: &str| play.said.iter().filter_map(|line| Some(line.split_once(what)?.0.to_owned())).collect();
    let (started, ended): (Vec<_>, Vec<_>) = (pids(" started"), pids(" exited"));
    assert_eq!((&started[..], &ended[1..]), (&["worker 1 (pid 1002)".to_owned()][..], &started[..]), "{:?}", play.said);
}

// ------------------------------------------------------------------------------------------------ the canary

/// With workers that are up, a reload under way, and the first new process up, too.
fn watched(workers: u16) -> Play {
    let mut play = Play::up(|config| (config.workers, config.canary) = (workers, seconds(5)));
    play.pass(seconds(1));
    play.tell(Event::Reload(Cause::Asked));
    play.ready(play.pids);
    play
}

fn failed(play: &Play) -> bool {
    matches!(&play.fleet.last_reload, Some(LastReload { result: ReloadResult::Failed(_), .. }))
}

#[test]
fn the_first_new_process_serves_beside_the_old_one_before_others_are_replaced() {
    let mut play = watched(2);
    play.pass(seconds(5) - Duration::from_nanos(1));
    assert_eq!((&play.serving()[..], &play.asked[..], play.pids), (&[1001, 1002][..], &[][..], 1003));
    assert!(matches!(play.fleet.last_reload, Some(LastReload { result: ReloadResult::UnderWay { .. }, .. })));
    play.pass(Duration::from_nanos(1));
    assert_eq!((&play.serving()[..], &play.asked[..], play.pids), (&[1003, 1002][..], &[1001][..], 1003));
    play.end(1001, 0);
    play.ready(1004);
    assert_eq!(play.asked, [1001, 1002], "the others follow as soon as they are up");
    play.end(1002, 0);
    assert_eq!(play.said.last().map(String::as_str), Some("reloaded"));
    assert!(
        play.said
            .iter()
            .any(|line| line == "worker 1 (pid 1003) is up beside pid 1001, watched for 5s before others are replaced")
    );
    assert_eq!(play.fleet.last_reload, Some(LastReload { number: 1, result: ReloadResult::Done }));
}

#[test]
fn a_canary_that_fails_is_the_end_of_the_reload() {
    let mut play = watched(2);
    play.pass(seconds(4));
    play.end(1003, FAILURE);
    play.pass(seconds(60));
    assert_eq!((&play.serving()[..], &play.asked[..], play.pids), (&[1001, 1002][..], &[][..], 1003));
    let why = "worker 1 (pid 1003) exited 1 after 4s, and said 'no such module'";
    let result = ReloadResult::Failed(why.into());
    assert_eq!(play.fleet.last_reload.as_ref().map(|reload| &reload.result), Some(&result));
    assert_eq!(play.said.iter().filter(|line| line.contains(why)).count(), 1, "{:?}", play.said);
    assert!(play.fleet.is_settled() && play.fleet.deadline().is_none());
}

#[test]
fn exit_0_of_a_canary_that_was_up_is_recycling() {
    let mut play = watched(1);
    for pid in [1003, 1004] {
        play.end(pid - 1, 0);
        assert_eq!((&play.serving()[..], play.pids), (&[1001][..], pid), "another is the canary");
        play.ready(pid);
    }
    play.end(1004, 0);
    assert_eq!((&play.serving()[..], play.pids, failed(&play)), (&[1001][..], 1004, true));

    // One that is not up has failed.
    let mut play = watched(1);
    play.end(1002, 0);
    play.end(1003, 0);
    assert_eq!((&play.serving()[..], play.pids, failed(&play)), (&[1001][..], 1003, true));

    // The old process may have ended before; then the next one is started as after each end.
    let mut play = watched(1);
    play.end(1001, 0);
    play.end(1002, 0);
    play.pass(seconds(1));
    play.ready(1003);
    assert!(play.fleet.reloading().is_some());
    play.pass(seconds(5));
    assert_eq!((&play.serving()[..], failed(&play), play.fleet.reloading()), (&[1003][..], false, None));
}

/// In every place, and whenever it was started since.
#[test]
fn a_new_process_that_fails_ends_the_reload() {
    // An old worker has ended, and is started with the new program.
    let mut play = watched(3);
    play.end(1002, FAILURE);
    assert!(!failed(&play), "it ran the old program");
    play.pass(seconds(5) - Duration::from_nanos(1));
    play.pass(Duration::from_nanos(1));
    assert_eq!(play.serving(), [1004, 1005, 1003]);
    play.end(1005, FAILURE);
    assert!(failed(&play));

    // One that SIGTTIN has started.
    let mut play = watched(1);
    play.tell(Event::OneMore);
    play.end(1003, 0);
    assert!(failed(&play));
    assert_eq!((&play.serving()[..], &play.asked[..]), (&[1001][..], &[1002][..]), "the canary goes, too");

    // One that has replaced another.
    let mut play = watched(3);
    play.pass(seconds(5));
    play.end(1001, 0);
    play.end(1004, libc::SIGSEGV);
    assert!(failed(&play));
    play.end(1005, 0);
    play.pass(seconds(60));
    assert_eq!(play.serving(), [1006, 1002, 1003]);

    // One that cannot be executed.
    let mut play = watched(2);
    play.start = Start::Fails;
    play.end(1002, 0);
    play.pass(seconds(1));
    assert!(failed(&play));
    assert_eq!(play.asked, [1003]);
}

#[test]
fn the_old_process_of_a_canary_may_end_by_itself() {
    let mut play = watched(2);
    play.end(1001, FAILURE);
    assert_eq!((play.serving(), play.fleet.reloading().is_some()), (vec![1003, 1002], true));
    play.pass(seconds(4));
    assert_eq!(play.pids, 1003, "it is still watched");
    play.pass(seconds(1));
    assert_eq!(play.pids, 1004);
}

#[test]
fn another_reload_starts_over_with_another_canary() {
    let mut play = watched(2);
    play.pass(seconds(4));
    play.tell(Event::Reload(Cause::Asked));
    assert_eq!((&play.asked[..], &play.serving()[..], play.pids), (&[1003][..], &[1001, 1002][..], 1004));
    play.end(1003, libc::SIGTERM);
    assert!(!failed(&play), "it was asked to end");
    play.ready(1004);
    play.pass(seconds(4));
    assert_eq!(play.pids, 1004);
    play.pass(seconds(1));
    assert_eq!(play.asked, [1003, 1001]);
}

#[test]
fn what_is_asked_for_while_a_canary_is_watched_is_done_at_once() {
    let mut play = watched(2);
    play.tell(Event::OneMore);
    assert_eq!(play.serving(), [1001, 1002, 1004]);
    play.tell(Event::OneLess);
    play.tell(Event::OneLess);
    assert_eq!((&play.asked[..], &play.serving()[..]), (&[1004, 1002][..], &[1001][..]));
    play.tell(Event::Stop);
    assert_eq!((&play.asked[..], &play.serving()[..]), (&[1004, 1002, 1001, 1003][..], &[][..]));
}

/// Another file may have been put in the program's place without a reload.
#[test]
fn a_worker_that_is_recycled_has_a_canary_only_for_another_program() {
    for version in [1, 2] {
        let change = |config: &mut Config| {
            (config.workers, config.canary, config.max_rss) = (2, seconds(5), Some(1000));
        };
        let mut play = Play::up(change);
        play.version = version;
        play.measure(1002, Usage { rss: 2000, ..Usage::default() });
        play.ready(1003);
        let asked: &[i32] = if version == 1 { &[1002] } else { &[] };
        assert_eq!(play.asked, asked);
        play.pass(seconds(4));
        if version == 2 {
            play.end(1003, FAILURE);
            assert_eq!((play.serving(), failed(&play)), (vec![1001, 1002], false));
            play.pass(seconds(60));
            play.measure(1002, Usage { rss: 2000, ..Usage::default() });
            play.ready(play.pids);
        }
        play.pass(seconds(5));
        assert_eq!(play.asked, [1002]);
    }
}

/// Of a predecessor it is not known which program its workers execute.
#[test]
fn a_worker_that_was_taken_over_is_replaced_by_a_canary() {
    let mut play =
        Play::adopt(&[(0, 900, 20)], |config| (config.canary, config.max_age) = (seconds(5), Some(seconds(60))));
    play.pass(seconds(41));
    play.ready(1001);
    assert_eq!((&play.asked[..], &play.serving()[..]), (&[][..], &[900][..]));
    play.pass(seconds(5));
    assert_eq!(play.asked, [900]);
}

/// A program that reports nothing has more time in a reload to find that it cannot serve.
#[test]
fn what_reports_nothing_is_up_after_some_time() {
    let time = |ready_after, begin: fn(&mut Play)| {
        let mut play = Play::new(|config| config.ready_after = ready_after);
        play.pass(seconds(20));
        begin(&mut play);
        play.fleet.deadline().expect("it waits") - play.now
    };
    let reload: fn(&mut Play) = |play| play.tell(Event::Reload(Cause::Asked));
    let restart: fn(&mut Play) = |play| {
        play.end(1001, 0);
        play.tell(Event::Tick);
    };
    assert_eq!((time(None, restart), time(None, reload)), (life::UP_AFTER, seconds(2)));
    let recycle: fn(&mut Play) = |play| {
        let (slot, cause) = (0, Cause::Overdue(seconds(3)));
        play.fleet.rolling.recycle(slot, cause, play.now);
        play.tell(Event::Tick);
    };
    assert_eq!(time(None, recycle), seconds(2));
    // Another worker, which ends while there is a reload.
    let mut play = Play::up(|config| {
        (config.workers, config.canary, config.ready_after) = (2, seconds(100), None);
    });
    play.pass(seconds(1));
    play.tell(Event::Reload(Cause::Asked));
    play.ready(1003);
    play.end(1002, 0);
    play.tell(Event::Tick);
    assert_eq!(play.fleet.deadline(), Some(play.now + seconds(2)));
    assert_eq!((time(Some(seconds(9)), restart), time(Some(seconds(9)), reload)), (seconds(9), seconds(9)));
}

/// A process that has reported is followed by one that has: it is not taken for up only because it lives.
#[test]
fn what_takes_the_place_of_one_that_reports_has_to_report() {
    let mut play = Play::up(|config| (config.workers, config.canary) = (2, Duration::ZERO));
    play.ready(1001);
    play.tell(Event::Reload(Cause::Asked));
    play.pass(worker::REPORT - seconds(1));
    assert_eq!((play.serving(), failed(&play)), (vec![1001, 1002], false));
    play.pass(seconds(1));
    let why = "worker 1: pid 1003 has not reported within 60s that it is up, as its predecessor had";
    assert!(failed(&play) && play.said.last().is_some_and(|line| line.contains(why)), "{:?}", play.said);
    assert_eq!((play.serving(), &play.asked[..]), (vec![1001, 1002], &[1003][..]));
    play.end(1003, 0);

    // One that reports late, and one that follows it.
    play.tell(Event::Reload(Cause::Asked));
    play.pass(seconds(40));
    play.ready(1004);
    assert_eq!(play.serving(), [1004, 1002]);
    play.end(1001, 0);
    play.pass(seconds(2));
    assert_eq!(play.serving(), [1004, 1005], "1002 has never reported");

    // The same for one that is too old, which is tried again.
    let mut play = Play::up(|config| config.max_age = Some(seconds(1000)));
    play.ready(1001);
    play.pass(seconds(1000));
    play.pass(worker::REPORT);
    assert_eq!((play.serving(), &play.asked[..]), (vec![1001], &[1002][..]));
    assert!(play.said.last().is_some_and(|line| line.contains("the old one stays")), "{:?}", play.said);
    assert!(play.fleet.deadline().is_some_and(|then| then > play.now));
}

/// A process that is about to come up decides first what there is to replace: what serves is never given up for it.
#[test]
fn a_reload_waits_for_a_process_that_is_starting() {
    let mut play = Play::new(|config| (config.workers, config.canary) = (2, Duration::ZERO));
    play.ready(1001);
    play.pass(Duration::from_millis(1));
    play.tell(Event::Reload(Cause::Asked));
    assert_eq!(play.pids, 1003, "the first one is replaced");
    play.end(1003, FAILURE);
    assert!(failed(&play) && play.ups == 0 && play.fleet.phase == Phase::First);
    play.tell(Event::Reload(Cause::Asked));
    play.end(1004, FAILURE);
    play.pass(life::UP_AFTER);
    assert_eq!((play.ups, play.fleet.phase), (1, Phase::Serving));

    // The only one.
    let mut play = Play::new(|_| ());
    play.pass(Duration::from_millis(1));
    play.tell(Event::Reload(Cause::Asked));
    assert_eq!((play.pids, play.fleet.phase), (1001, Phase::First));
    play.pass(life::UP_AFTER);
    assert_eq!((play.pids, play.ups, play.fleet.phase), (1002, 1, Phase::Serving));
    play.end(1002, FAILURE);
    assert!(failed(&play) && play.serving() == [1001]);

    let mut play = Play::new(|_| ());
    play.pass(Duration::from_millis(1));
    play.tell(Event::Reload(Cause::Asked));
    play.end(1001, FAILURE);
    assert_eq!((play.pids, play.ups, play.fleet.phase), (1002, 1, Phase::Serving), "there is no pause");
    assert!(play.fleet.reloading().is_some(), "{:?}", play.said);
}

/// It may still be on its way when its turn comes.
#[test]
fn an_old_worker_that_was_restarted_has_to_come_up() {
    let mut play = watched(2);
    play.pass(Duration::from_millis(4900));
    play.end(1002, 0);
    play.pass(Duration::from_millis(100));
    assert_eq!((play.serving(), &play.asked[..]), (vec![1003, 1004], &[1001][..]));
    play.end(1001, 0);
    assert!(play.fleet.reloading().is_some(), "{:?}", play.said);
    play.ready(1004);
    assert_eq!(play.said.last().map(String::as_str), Some("reloaded"));
}

/// What a supervisor promises to one that waits for the result.
#[test]
fn a_reload_ends_within_its_time() {
    for timeout in [Some(seconds(10)), None] {
        let mut play = Play::up(|config| {
            (config.workers, config.canary, config.ready_after) = (3, seconds(5), None);
            config.stop_timeout = timeout;
        });
        play.pass(seconds(1));
        play.tell(Event::Reload(Cause::Asked));
        let Some(ReloadResult::UnderWay { until }) = play.fleet.reloading().cloned() else { panic!("it is under way") };
        // 7 s to come up for one that is starting, three canaries, each 7 s to come up and 5 s to live, then three workers
        // with 15.9 s for the old process.
        assert_eq!(until, play.now + Duration::from_millis(7_000 + 3 * 12_000 + 3 * 22_900));
        // Two canaries exit 0 when they are nearly through, and no process ends that is asked to.
        for pid in [1004, 1005] {
            play.pass(seconds(6));
            play.end(pid, 0);
        }
        let left = until - play.now;
        play.pass(left);
        assert_eq!(play.fleet.reloading(), None, "{:?}", play.said);
        assert!(!failed(&play));
        play.tell(Event::Reload(Cause::Asked));
        assert_eq!(play.fleet.last_reload.as_ref().map(|last| last.number), Some(2));
    }
}
