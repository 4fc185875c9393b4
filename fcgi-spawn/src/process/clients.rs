//! Whether a worker that is to stop has clients.

use std::str;

use crate::fleet::Clients;
use crate::process::connections::{Connections, MOST, Seen, at_most};
use crate::process::program::Program;
use crate::sys::{Pid, Stat, content_of, numbers_in};

/// How often the table of connections is read, if it does not have all sockets of a worker.
const TRIES: usize = 3;

/// A worker whose clients are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) leader: Pid,
    /// What it executes, if that is known.
    pub(crate) program: Option<Program>,
    /// The inode of the listening socket.
    pub(crate) listener: Option<u64>,
}

/// Where each thread of a worker waits: the system call and its arguments, as far as that can be seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<(u32, Vec<u8>)>);

/// A process of a worker, with its threads.
#[derive(Debug)]
struct Part {
    pid: u32,
    threads: Vec<u32>,
}

impl Subject {
    /// Its clients. If it is held, it and its parts have to be seen to have stopped, where they were before: only then they
    /// wait for connections, none of them can accept another one, and what they are asked ends that wait.
    ///
    /// A worker can have as many processes, threads and descriptors as it likes. One with more than are looked at has
    /// clients.
    pub(crate) fn clients(self, held: Option<&Places>) -> Clients {
        let mut left = MOST;
        let parts = self.parts(&mut left);
        if held.is_some() && !parts.iter().all(|part| part.all_threads(Stat::is_stopped, &mut left)) {
            return Clients::NotHeld;
        }
        let rests = match held {
            None => parts.iter().all(|part| part.all_threads(Stat::is_sleeping, &mut left)),
            Some(places) => *places == places_of(&parts, &mut left),
        };
        let pids: Vec<u32> = parts.iter().map(|part| part.pid).collect();
        match connected(&pids, self.listener, &mut left) {
            Clients::None if !rests || left == 0 => Clients::Some,
            clients => clients,
        }
    }

    /// Where it waits now.
    pub(crate) fn places(self) -> Places {
        let mut left = MOST;
        places_of(&self.parts(&mut left), &mut left)
    }

    /// It and what serves like it. Helpers may have a connection open that was accepted before they were started.
    fn parts(self, left: &mut usize) -> Vec<Part> {
        let mut parts = family(self.leader, left);
        let mut is_part = |pid| self.program.is_none_or(|program| program.has_part(pid, self.listener, left));
        parts.retain(|part| i32::try_from(part.pid) == Ok(self.leader.number()) || is_part(part.pid));
        parts
    }
}

impl Part {
    fn of(pid: u32, left: &mut usize) -> Self {
        Part { pid, threads: at_most(left, numbers_in(&format!("/proc/{pid}/task"))).collect() }
    }

    /// Its children, of each of its threads; none if it has ended. Since Linux 3.5, if the kernel was built so.
    fn children(&self, left: &mut usize) -> Option<Vec<u32>> {
        let mut children = Vec::new();
        for thread in &self.threads {
            match content_of(&format!("/proc/{}/task/{thread}/children", self.pid)) {
                Ok(pids) => {
                    let pids = str::from_utf8(&pids).unwrap_or_default().split_ascii_whitespace();
                    children.extend(at_most(left, pids.filter_map(|pid| pid.parse::<u32>().ok())));
                }
                Err(_) if Stat::of_thread(self.pid, *thread).is_none() => {}
                Err(_) => return None,
            }
        }
        Some(children)
    }

    /// Whether this is so of every thread that has not ended meanwhile.
    fn all_threads(&self, is_so: impl Fn(&Stat) -> bool, left: &mut usize) -> bool {
        let is_so = |thread| Stat::of_thread(self.pid, thread).is_none_or(|stat| stat.has_ended() || is_so(&stat));
        at_most(left, self.threads.iter().copied()).all(is_so)
    }
}

fn places_of(parts: &[Part], left: &mut usize) -> Places {
    let mut places = Vec::new();
    for Part { pid, threads } in parts {
        let place = |thread| (thread, content_of(&format!("/proc/{pid}/task/{thread}/syscall")).unwrap_or_default());
        places.extend(at_most(left, threads.iter().copied()).map(place));
    }
    Places(places)
}

/// Whether clients are connected to these processes.
fn connected(parts: &[u32], listener: Option<u64>, left: &mut usize) -> Clients {
    let mut last = Clients::Unseen;
    for _ in 0..TRIES {
        let connections = listener.and_then(Connections::of);
        last = match connections.map_or(Seen::Nothing, |connections| connections.any_at(parts, left)) {
            Seen::Some => return Clients::Some,
            Seen::None => return Clients::None,
            Seen::Unknown => Clients::None,
            Seen::Nothing => Clients::Unseen,
        };
    }
    last
}

/// A process and its descendants; where the kernel does not list children, all of its session.
fn family(leader: Pid, left: &mut usize) -> Vec<Part> {
    let mut found: Vec<Part> = u32::try_from(leader.number()).into_iter().map(|pid| Part::of(pid, left)).collect();
    let mut at = 0;
    while at < found.len() {
        let Some(children) = found[at].children(left) else { return session(leader, left) };
        found.extend(children.into_iter().map(|pid| Part::of(pid, left)));
        at += 1;
    }
    found
}

fn session(leader: Pid, left: &mut usize) -> Vec<Part> {
    let is_member = |pid: &u32| Stat::of(*pid).is_some_and(|stat| stat.session == leader.number());
    let pids: Vec<u32> = at_most(left, numbers_in("/proc").filter(is_member)).collect();
    pids.into_iter().map(|pid| Part::of(pid, left)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("sh is there")
    }

    fn line(of: &mut Child) -> String {
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(of.stdout.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("read");
        line
    }

    #[test]
    fn a_family_has_children_and_theirs() {
        let mut leader = shell("sh -c 'sleep 20 & echo $$ $!; wait' & wait");
        let said = line(&mut leader);
        let mut want: Vec<u32> = said.split_ascii_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
        want.insert(0, leader.id());
        let mut family: Vec<u32> = family(Pid::of(&leader), &mut 100).into_iter().map(|part| part.pid).collect();
        family.sort_unstable();
        for pid in want[1..].iter().rev() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
        leader.kill().expect("killed");
        leader.wait().expect("it ends");
        want.sort_unstable();
        assert_eq!(family, want);
    }

    #[test]
    fn what_is_held_is_seen_to_have_stopped() {
        let mut child = shell("echo; exec sleep 20");
        line(&mut child);
        let is_stopped = |id| Part::of(id, &mut 100).all_threads(Stat::is_stopped, &mut 100);
        assert!(!is_stopped(child.id()));
        crate::sys::signal_process(Pid::of(&child), libc::SIGSTOP).expect("sent");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !is_stopped(child.id()) {
            assert!(std::time::Instant::now() < end, "it goes on");
        }
        child.kill().expect("killed");
        child.wait().expect("it ends");
    }
}
