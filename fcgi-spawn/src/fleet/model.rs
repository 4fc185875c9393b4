//! A world in which anything may happen to the processes of a fleet, at random: whatever it was, none is forgotten, and
//! afterwards all is as it should be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::*;
use crate::{Address, Error};

/// What can be different about a process.
#[derive(Clone, Copy, Debug, Default)]
struct Subject {
    /// It has not executed the program.
    launching: bool,
    /// It does nothing that it is asked to.
    deaf: bool,
    /// It has another uid, which we may not signal.
    foreign: bool,
    /// Its leader has ended, and others of its group are left.
    orphaned: bool,
    /// What is left then executes another program.
    helps: bool,
    /// It is stopped for a moment.
    held: bool,
    /// It has been asked to stop, or was killed.
    ending: bool,
    /// With all its group.
    killed: bool,
}

impl Subject {
    fn is_helper(&self) -> bool {
        self.orphaned && self.helps
    }
}

struct World {
    fleet: Fleet,
    now: Instant,
    random: Random,
    processes: BTreeMap<i32, Subject>,
    next: i32,
    /// Nothing unusual happens any more.
    calm: bool,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut config = Config::new(Address::Unix("unused".into()), Vec::new());
        config.workers = 1 + (random.number() % 4) as u16;
        config.stop_timeout = (random.number() % 4 > 0).then_some(Duration::from_secs(random.number() % 20));
        config.max_age = (random.number() % 2 == 0).then_some(Duration::from_secs(100));
        config.max_rss = (random.number() % 2 == 0).then_some(1000);
        config.on_demand = random.number() % 4 == 0;
        config.idle = config.on_demand.then_some(Duration::from_secs(20));
        config.max_backoff = Some(Duration::from_secs(30));
        config.canary = Duration::from_secs(random.number() % 2 * 5);
        let fleet = Fleet::new(Rules::of(&config), Random::new(seed));
        let processes = BTreeMap::new();
        let mut world =
            World { fleet, now: Instant::now(), random, processes, next: 1000, calm: true, trace: Vec::new() };
        world.tell(Event::Begin);
        world.pass(Duration::from_secs(1));
        world.calm = false;
        world
    }

    /// One time in `many`, unless all is calm.
    fn happens(&mut self, many: u64) -> bool {
        !self.calm && self.random.number() % many == 0
    }

    fn tell(&mut self, event: Event) {
        self.trace.push(format!("{event:?}"));
        for action in self.fleet.on(event, self.now) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        self.trace.push(format!("    {action:?}"));
        match action {
            Action::Start(slot) if self.happens(8) => {
                self.tell(Event::Refused { slot, error: Error::new("refused") });
            }
            Action::Start(slot) => {
                self.next += 1;
                let pid = self.next;
                let (deaf, foreign) = (self.happens(6), self.happens(12));
                self.processes.insert(pid, Subject { launching: true, deaf, foreign, ..Subject::default() });
                let version = self.random.number() as u32 % 2;
                self.tell(Event::Forked { slot, pid: Pid::for_test(pid), version });
                if self.happens(8) {
                    self.processes.get_mut(&pid).expect("just made").ending = true;
                    let is_shortage = self.happens(2);
                    self.tell(Event::NotExecuted {
                        pid: Pid::for_test(pid),
                        error: Error::new("no program"),
                        is_shortage,
                    });
                } else if !self.happens(8) {
                    self.executed(pid);
                }
            }
            Action::Identify(_) => {}
            Action::LookForClients(pid) => {
                let clients = match self.random.number() % 8 {
                    _ if self.calm => Clients::None,
                    0 => Clients::Unseen,
                    1 => Clients::ItsOwn,
                    2 => Clients::NotHeld,
                    3 | 4 => Clients::Some,
                    _ => Clients::None,
                };
                self.tell(Event::Served { pid, clients, cost: Duration::ZERO });
            }
            Action::Hold(pid) => {
                let process = self.processes.get_mut(&pid.number()).expect("there");
                process.held = !process.foreign;
                if process.foreign {
                    self.tell(Event::Served { pid, clients: Clients::Unseen, cost: Duration::ZERO });
                }
            }
            Action::Release(pid) => {
                if let Some(process) = self.processes.get_mut(&pid.number()) {
                    process.held = false;
                }
            }
            Action::Ask(pid) => {
                let stops_all = self.fleet.phase == Phase::Stopping;
                if let Some(process) = self.processes.get_mut(&pid.number()).filter(|process| !process.foreign) {
                    process.ending |= !process.deaf && (!process.is_helper() || stops_all);
                }
            }
            Action::Kill(pid) => {
                let process = self.processes.get_mut(&pid.number());
                let refused = process.as_ref().is_some_and(|process| process.foreign).then(|| "no".to_owned());
                if let Some(process) = process.filter(|process| !process.foreign) {
                    if process.is_helper() && self.fleet.phase != Phase::Stopping {
                        self.tell(Event::Signalled { pid, refused });
                        return;
                    }
                    (process.ending, process.killed) = (true, true);
                    if process.orphaned {
                        self.processes.remove(&pid.number());
                    }
                }
                self.tell(Event::Signalled { pid, refused });
            }
            Action::LookAtGroup(pid) => {
                let left = self.left(pid.number());
                self.tell(Event::Looked { pid, left });
            }
            Action::LookAtListener => {
                let waits = self.happens(2);
                self.tell(Event::Waiting(waits));
            }
            Action::Measure(pid) => {
                let rss = if self.happens(10) { 2000 } else { 10 };
                let work = if self.happens(2) { self.random.number() } else { 0 };
                self.tell(Event::Measured {
                    pid,
                    usage: Usage { rss, work, connected: false },
                    reported: Reported::Nothing,
                });
            }
            Action::Say(_) | Action::Up => {}
            Action::Fail(error) => panic!("the start was over: {error}"),
        }
    }

    fn executed(&mut self, pid: i32) {
        if let Some(process) = self.processes.get_mut(&pid).filter(|process| process.launching) {
            process.launching = false;
            self.tell(Event::Executed(Pid::for_test(pid)));
        }
    }

    /// What is there in the group of a process that ended.
    fn left(&self, pid: i32) -> Left {
        match self.processes.get(&pid) {
            None => Left::Nothing,
            Some(process) if process.helps => Left::Helpers,
            Some(_) => Left::Parts,
        }
    }

    fn end(&mut self, pid: i32) {
        let (others, helps) = (self.happens(4), self.happens(2));
        match self.processes.get_mut(&pid) {
            Some(process) if others && !process.foreign && !process.launching && !process.killed => {
                (process.orphaned, process.helps, process.ending) = (true, helps, false);
            }
            _ => drop(self.processes.remove(&pid)),
        }
        let left = self.left(pid);
        let status = ExitStatus::from_raw(if self.random.number() % 2 == 0 { 0 } else { 1 << 8 });
        self.tell(Event::Ended { pid: Pid::for_test(pid), status, left, said: None });
    }

    /// Something happens.
    fn step(&mut self) {
        let pids: Vec<i32> = self.processes.keys().copied().collect();
        let pid = pids.get((self.random.number() % pids.len().max(1) as u64) as usize).copied().unwrap_or(1);
        let process = self.processes.get(&pid).copied().unwrap_or_default();
        let is_leader = self.processes.contains_key(&pid) && !process.orphaned;
        match self.random.number() % 16 {
            0 => self.tell(Event::Reload(Cause::Asked)),
            1 => self.tell(Event::OneMore),
            2 => self.tell(Event::OneLess),
            3 => self.tell(Event::Overdue { pid: Pid::for_test(pid), time: Duration::from_secs(3) }),
            4 if self.fleet.watches_listener() => self.tell(Event::Waiting(true)),
            5 => self.executed(pid),
            6 if is_leader && !process.launching => self.tell(Event::Ready(Pid::for_test(pid))),
            7 | 8 if is_leader => self.end(pid),
            // As process 1 of a container we reap what never was ours.
            9 => {
                let (pid, status) = (Pid::for_test(7), ExitStatus::from_raw(0));
                self.tell(Event::Ended { pid, status, left: Left::Nothing, said: None });
            }
            _ => {
                let most = [1, 300, 3_000, 40_000][(self.random.number() % 4) as usize];
                let time = Duration::from_millis(self.random.number() % most);
                self.pass(time);
            }
        }
        self.settle();
        self.check();
    }

    /// What was asked to end ends, sooner or later.
    fn settle(&mut self) {
        let ending = self.processes.iter().filter(|(_, process)| process.ending && !process.held);
        for (pid, is_orphaned) in ending.map(|(pid, process)| (*pid, process.orphaned)).collect::<Vec<_>>() {
            if self.calm || self.happens(2) {
                // The end of what is left is not reported.
                match is_orphaned {
                    true => drop(self.processes.remove(&pid)),
                    false => self.end(pid),
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.fleet.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.tell(Event::Tick);
            if self.calm {
                self.settle();
                for pid in self.processes.keys().copied().collect::<Vec<_>>() {
                    self.executed(pid);
                }
                // Those that have to report do.
                let late = self.now + worker::REPORT;
                let silent: Vec<_> = self.fleet.slots.iter().filter_map(|slot| slot.worker.silent(late)).collect();
                silent.into_iter().for_each(|pid| self.tell(Event::Ready(pid)));
            }
            assert!(self.fleet.deadline().is_none_or(|next| next > self.now), "it spins");
        }
        self.now = end;
    }

    /// Every process is in a slot or being stopped, and in one place only.
    fn check(&self) {
        for (pid, process) in &self.processes {
            let pid = Pid::for_test(*pid);
            let slots = self.fleet.slots.iter().filter(|slot| slot.worker.has(pid)).count();
            let stopping = self.fleet.stopping.iter().filter(|stopping| stopping.process.pid == pid).count();
            assert_eq!(slots + stopping, 1, "{pid}: {process:?}, {slots} {stopping}");
            let is_held = |stopping: &Stopping| stopping.process.pid == pid && stopping.state.is_held();
            assert!(!process.held || self.fleet.stopping.iter().any(is_held), "{pid} is held for ever");
        }
        for slot in &self.fleet.slots {
            for process in slot.worker.processes() {
                assert!(self.processes.contains_key(&process.pid.number()), "{process:?} is not there");
            }
        }
    }

    /// How many workers have a process.
    fn running(&self) -> usize {
        self.fleet.slots.iter().filter(|slot| slot.worker.process().is_some()).count()
    }
}

fn live(world: &mut World, seed: u64) {
    for _ in 0..60 {
        world.step();
    }
    // After a while without faults all is as configured.
    world.calm = true;
    world.settle();
    for _ in 0..40 {
        world.pass(Duration::from_secs(60));
        world.settle();
        world.check();
    }
    let want = if world.fleet.rules.on_demand { 0 } else { world.fleet.rules.workers };
    let running = world.running();
    assert!(running == want || (want == 0 && running <= world.fleet.rules.workers), "{running}, not {want}");
    assert!(world.fleet.rolling.is_over() || world.fleet.rules.max_age.is_some(), "a turn is left");
    assert_eq!(world.fleet.reloading(), None, "a reload has no end");
    world.calm = seed % 2 == 0;

    // A stop starts nothing, and ends.
    world.tell(Event::Stop);
    let begun = world.next;
    for event in [Event::OneMore, Event::OneLess, Event::Reload(Cause::Asked), Event::Waiting(true)] {
        world.tell(event);
    }
    let patience = world.fleet.rules.stop_timeout.unwrap_or(Duration::ZERO) + Duration::from_secs(2);
    world.calm = true;
    world.settle();
    world.pass(patience);
    world.settle();
    let deaf = |process: &Subject| process.deaf || process.foreign;
    let may_wait = world.fleet.rules.stop_timeout.is_none() && world.processes.values().any(deaf);
    assert!(world.fleet.is_over() || may_wait, "{:?} are waited for", world.processes);
    assert_eq!(world.next, begun, "a stop has started something");
    let never_killed = world.fleet.rules.stop_timeout.is_none();
    let is_left =
        |process: &Subject| !(process.foreign || never_killed && process.orphaned || may_wait && process.deaf);
    assert!(!world.processes.values().any(is_left), "{:?} are left", world.processes);
}

#[test]
fn whatever_happens_no_process_is_forgotten() {
    live_through(0..1000);
}

#[test]
fn whatever_else_happens_none_is_forgotten() {
    live_through(1000..2000);
}

fn live_through(seeds: Range<u64>) {
    for seed in seeds {
        let mut world = World::new(seed);
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(&mut world, seed)));
        if let Err(panic) = lived {
            eprintln!("seed {seed}:\n{}", world.trace[world.trace.len().saturating_sub(60)..].join("\n"));
            std::panic::resume_unwind(panic);
        }
    }
}
