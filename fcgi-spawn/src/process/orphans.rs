//! Processes that workers have left in their groups when they ended.
//!
//! A number alone does not tell whose a group is: when the last process has left it, the kernel may give it to a process of
//! any user. So they are known by pid and start time, and a group is ours as long as one of those that were seen in it is.

use std::time::{Duration, Instant};

use crate::sys::{self, Pid, Stat};

/// A look at all processes is good for this long, and for ten times as long as it took.
const LOOK: Duration = Duration::from_millis(50);

/// A process in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    group: i32,
    pid: u32,
    start: u64,
}

/// The groups whose leaders were reaped.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Each with what was last seen in it; without `/proc` nothing is.
    groups: Vec<(Pid, Option<Vec<Member>>)>,
    /// All processes in the groups of their sessions, sorted, as far as one can see.
    seen: Option<Vec<Member>>,
    next_look: Option<Instant>,
}

impl Orphans {
    /// A worker was reaped: whether it has left processes.
    pub(crate) fn left_by(&mut self, leader: Pid) -> bool {
        if !sys::has_group(leader) {
            return false;
        }
        self.look(Instant::now());
        let members = self.members(leader);
        let are_left = members.as_ref().is_none_or(|members| !members.is_empty());
        if are_left {
            self.groups.push((leader, members));
        }
        are_left
    }

    /// Whether one of them is still there.
    pub(crate) fn are_left(&mut self, leader: Pid, now: Instant) -> bool {
        if self.next_look.is_none_or(|next| now >= next) {
            self.look(now);
        }
        let now = self.members(leader);
        let Some((_, known)) = self.groups.iter_mut().find(|(group, _)| *group == leader) else { return false };
        match (known, now) {
            (Some(known), Some(now)) => {
                let is_ours = now.iter().any(|member| known.contains(member));
                // Those that it has started since are in the group as well.
                *known = if is_ours { now } else { Vec::new() };
                is_ours
            }
            _ => sys::has_group(leader),
        }
    }

    /// Whether the group of this number may be signalled: its leader is not reaped, or one of those that it left is there.
    pub(crate) fn is_ours(&self, leader: Pid) -> bool {
        let group = self.groups.iter().find(|(group, _)| *group == leader);
        group.and_then(|(_, members)| members.as_ref()).is_none_or(|members| members.iter().any(Member::is_there))
    }

    /// Forgets groups.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(Pid) -> bool) {
        self.groups.retain(|(group, _)| is_wanted(*group));
    }

    fn look(&mut self, now: Instant) {
        self.seen = sys::processes().map(|pids| {
            let mut members: Vec<_> = pids.filter_map(Member::of).collect();
            members.sort_unstable();
            members
        });
        self.next_look = Some(now + LOOK.max(10 * now.elapsed()));
    }

    fn members(&self, leader: Pid) -> Option<Vec<Member>> {
        let seen = self.seen.as_ref()?;
        let begin = seen.partition_point(|member| member.group < leader.number());
        Some(seen[begin..].iter().take_while(|member| member.group == leader.number()).copied().collect())
    }
}

impl Member {
    /// A worker leads a session, so what is left of its group is in that.
    fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid).filter(|stat| stat.is_alive() && stat.session == stat.group)?;
        Some(Member { group: stat.group, pid, start: stat.start })
    }

    fn is_there(&self) -> bool {
        Member::of(self.pid) == Some(*self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    use std::process::{ChildStdin, Command, Stdio};

    use super::*;

    /// The leader of a session that has ended and left a process, which waits for its stdin to end.
    fn leave() -> (Pid, ChildStdin) {
        let mut leader = Command::new("setsid");
        leader.args(["sh", "-c", "exec 3<&0; { cat <&3 >/dev/null; } & echo left"]);
        let mut child = leader.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().expect("setsid is there");
        let mut said = [0; 5];
        child.stdout.take().expect("a pipe").read_exact(&mut said).expect("it says so");
        let (leader, stdin) = (Pid::of(&child), child.stdin.take().expect("a pipe"));
        child.wait().expect("it ends");
        (leader, stdin)
    }

    #[test]
    fn what_is_left_is_seen_until_it_ends() {
        let (leader, stdin) = leave();
        let mut orphans = Orphans::default();
        assert!(orphans.left_by(leader) && orphans.is_ours(leader));
        assert!(orphans.are_left(leader, Instant::now()));
        drop(stdin);
        let end = Instant::now() + Duration::from_secs(20);
        while orphans.are_left(leader, Instant::now()) {
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!orphans.is_ours(leader));
        orphans.retain(|_| false);
        assert!(orphans.groups.is_empty());
    }

    /// Each look reads a file of every process.
    #[test]
    fn one_look_is_good_for_some_time() {
        let ((first, stdin), (second, _others)) = (leave(), leave());
        let mut orphans = Orphans::default();
        assert!(orphans.left_by(second) && orphans.left_by(first));
        let next = orphans.next_look.expect("there was one");
        drop(stdin);
        let end = Instant::now() + Duration::from_secs(20);
        while orphans.is_ours(first) {
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(orphans.are_left(first, next - Duration::from_nanos(1)), "another look, too early");
        assert!(!orphans.are_left(first, next) && orphans.are_left(second, next));
        let (now, begun) = (Instant::now(), Instant::now() - Duration::from_secs(1));
        orphans.look(begun);
        assert!(orphans.next_look >= Some(begun + 10 * (now - begun)), "a look that took long is followed too soon");
    }

    #[test]
    fn a_worker_that_leaves_none_has_none() {
        let mut child = Command::new("true").process_group(0).spawn().expect("true is there");
        let leader = Pid::of(&child);
        child.wait().expect("it ends");
        assert!(!Orphans::default().left_by(leader));
    }

    /// The number of a group whose processes are gone may be that of another one.
    #[test]
    fn a_group_that_has_the_number_by_chance_is_not_ours() {
        let (leader, stdin) = leave();
        let mut orphans = Orphans::default();
        assert!(orphans.left_by(leader));
        for member in orphans.groups[0].1.as_mut().expect("seen") {
            member.start -= 1;
        }
        assert!(!orphans.is_ours(leader));
        assert!(!orphans.are_left(leader, Instant::now()));
        assert!(!orphans.are_left(leader, Instant::now()), "it does not become ours later");
        drop(stdin);
    }
}
