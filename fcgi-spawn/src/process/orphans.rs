//! Processes that workers have left in their groups when they ended.
//!
//! A number alone does not tell whose a group is: when the last process has left it, the kernel may give it to a process of
//! any user. So they are known by pid and start time, and a group is ours as long as one of those that were seen in it is.

use std::ffi::c_int;
use std::io;
use std::time::{Duration, Instant};

use crate::fleet::Left;
use crate::process::connections::MOST;
use crate::process::program::Program;
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

/// A group whose leader was reaped.
#[derive(Debug)]
struct Group {
    leader: Pid,
    /// What the leader executed, if that was seen.
    program: Option<Program>,
    /// What was last seen in it; without `/proc` nothing is.
    members: Option<Vec<Member>>,
}

#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// What leaders that are not reaped execute.
    programs: Vec<(Pid, Program)>,
    groups: Vec<Group>,
    /// All processes in the groups of their sessions, sorted, as far as one can see.
    seen: Option<Vec<Member>>,
    next_look: Option<Instant>,
}

impl Orphans {
    /// A process was forked, and nothing can be left of a group of its number.
    pub(crate) fn is_new(&mut self, pid: Pid) {
        self.programs.retain(|(known, _)| *known != pid);
        self.groups.retain(|group| group.leader != pid);
    }

    /// Takes note of the program of a worker, which is not reaped: of a process that has ended it cannot be seen.
    pub(crate) fn identify(&mut self, leader: Pid) {
        let program = u32::try_from(leader.number()).ok().and_then(Program::of);
        let Some(program) = program.filter(|_| !self.is_reaped(leader)) else { return };
        match self.programs.iter_mut().find(|(pid, _)| *pid == leader) {
            Some((_, known)) => *known = program,
            None => self.programs.push((leader, program)),
        }
    }

    /// The program of a worker, as far as that was seen.
    pub(crate) fn program(&self, leader: Pid) -> Option<Program> {
        self.programs.iter().find(|(pid, _)| *pid == leader).map(|(_, program)| *program)
    }

    /// A worker was reaped: what it has left. `listener` is the inode of the listening socket.
    pub(crate) fn left_by(&mut self, leader: Pid, listener: Option<u64>) -> Left {
        let program = self.program(leader);
        self.programs.retain(|(pid, _)| *pid != leader);
        if !sys::has_group(leader) {
            return Left::Nothing;
        }
        self.look(Instant::now());
        let group = Group { leader, program, members: self.members(leader) };
        let left = group.left(listener);
        if left != Left::Nothing {
            self.groups.push(group);
        }
        left
    }

    /// Takes note of what a worker has left that was reaped before we took over.
    pub(crate) fn take_over(&mut self, leader: Pid) {
        self.look_if_due(Instant::now());
        self.groups.push(Group { leader, program: None, members: self.members(leader) });
    }

    /// What is still there of it.
    pub(crate) fn are_left(&mut self, leader: Pid, listener: Option<u64>, now: Instant) -> Left {
        self.look_if_due(now);
        let now = self.members(leader);
        let Some(group) = self.groups.iter_mut().find(|group| group.leader == leader) else { return Left::Nothing };
        match (&mut group.members, now) {
            (Some(known), Some(now)) => {
                let is_ours = now.iter().any(|member| known.contains(member));
                // Those that it has started since are in the group as well.
                *known = if is_ours { now } else { Vec::new() };
                group.left(listener)
            }
            _ if sys::has_group(leader) => Left::Unknown,
            _ => Left::Nothing,
        }
    }

    /// Whether the group of this number may be signalled: its leader is not reaped, or one of those that it left is there.
    pub(crate) fn is_ours(&self, leader: Pid) -> bool {
        let group = self.groups.iter().find(|group| group.leader == leader);
        group.and_then(|group| group.members.as_ref()).is_none_or(|members| members.iter().any(Member::is_there))
    }

    pub(crate) fn is_reaped(&self, leader: Pid) -> bool {
        self.groups.iter().any(|group| group.leader == leader)
    }

    /// Sends a signal to what is left in a group of ours: to its parts, or to `all`.
    ///
    /// # Errors
    ///
    /// One of them may not be signalled by us.
    pub(crate) fn signal(&self, leader: Pid, signal: c_int, all: bool, listener: Option<u64>) -> io::Result<()> {
        let group = self.groups.iter().find(|group| group.leader == leader);
        let Some((members, program)) = group.filter(|_| !all).and_then(|its| its.members.as_ref().zip(its.program))
        else {
            return sys::signal_group(leader, signal);
        };
        let mut left = MOST;
        let is_part = |member: &&Member| program.has_part(member.pid, listener, &mut left) && member.is_there();
        let parts = members.iter().filter(is_part);
        let pids = parts.filter_map(|member| Pid::handed_over(i32::try_from(member.pid).ok()?));
        let mut result = Ok(());
        for pid in pids {
            let sent = sys::signal_process(pid, signal);
            if sent.as_ref().is_err_and(|error| error.raw_os_error() != Some(libc::ESRCH)) {
                result = sent;
            }
        }
        result
    }

    /// Forgets the groups of all but these.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(Pid) -> bool) {
        self.groups.retain(|group| is_wanted(group.leader));
    }

    fn look_if_due(&mut self, now: Instant) {
        if self.next_look.is_none_or(|next| now >= next) {
            self.look(now);
        }
    }

    fn look(&mut self, now: Instant) {
        let mut members: Vec<_> = sys::numbers_in("/proc").filter_map(Member::of).collect();
        members.sort_unstable();
        // We are there, unless there is no `/proc`.
        self.seen = (!members.is_empty()).then_some(members);
        self.next_look = Some(now + LOOK.max(10 * now.elapsed()));
    }

    fn members(&self, leader: Pid) -> Option<Vec<Member>> {
        let seen = self.seen.as_ref()?;
        let begin = seen.partition_point(|member| member.group < leader.number());
        Some(seen[begin..].iter().take_while(|member| member.group == leader.number()).copied().collect())
    }
}

impl Group {
    fn left(&self, listener: Option<u64>) -> Left {
        match (&self.members, self.program) {
            (Some(members), _) if members.is_empty() => Left::Nothing,
            (None, _) | (_, None) => Left::Unknown,
            (Some(members), Some(program)) => {
                let mut left = MOST;
                match members.iter().any(|member| program.has_part(member.pid, listener, &mut left)) {
                    true => Left::Parts,
                    false => Left::Helpers,
                }
            }
        }
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
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, ChildStdin, Command, Stdio};

    use super::*;

    /// The leader of a session that runs this, and waits for its stdin to end.
    fn lead(command: &str) -> Child {
        let mut leader = Command::new("setsid");
        leader.args(["sh", "-c", command]).stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut child = leader.spawn().expect("setsid is there");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut said).expect("read");
        assert_eq!(said, "left\n");
        child
    }

    /// One that has ended and left a process, which waits for its stdin to end.
    fn leave() -> (Pid, ChildStdin) {
        let mut child = lead("exec 3<&0; { cat <&3 >/dev/null; } & echo left");
        let (leader, stdin) = (Pid::of(&child), child.stdin.take().expect("a pipe"));
        child.wait().expect("it ends");
        (leader, stdin)
    }

    fn wait_until(mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < end, "it does not happen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_left_is_seen_until_it_ends() {
        let (leader, stdin) = leave();
        let mut orphans = Orphans::default();
        assert_eq!((orphans.left_by(leader, None), orphans.is_ours(leader)), (Left::Unknown, true));
        assert_eq!(orphans.are_left(leader, None, Instant::now()), Left::Unknown);
        drop(stdin);
        wait_until(|| orphans.are_left(leader, None, Instant::now()) == Left::Nothing);
        assert!(!orphans.is_ours(leader));
        orphans.retain(|_| false);
        assert!(orphans.groups.is_empty());
    }

    /// Each look reads a file of every process.
    #[test]
    fn one_look_is_good_for_some_time() {
        let ((first, stdin), (second, _others)) = (leave(), leave());
        let mut orphans = Orphans::default();
        assert_eq!([second, first].map(|leader| orphans.left_by(leader, None)), [Left::Unknown; 2]);
        let next = orphans.next_look.expect("there was one");
        drop(stdin);
        wait_until(|| !orphans.is_ours(first));
        let early = next - Duration::from_nanos(1);
        assert_eq!(orphans.are_left(first, None, early), Left::Unknown, "another look, too early");
        let now = [first, second].map(|leader| orphans.are_left(leader, None, next));
        assert_eq!(now, [Left::Nothing, Left::Unknown]);
        let (now, begun) = (Instant::now(), Instant::now() - Duration::from_secs(1));
        orphans.look(begun);
        assert!(orphans.next_look >= Some(begun + 10 * (now - begun)), "a look that took long is followed too soon");
    }

    #[test]
    fn a_worker_that_leaves_none_has_none() {
        let mut child = Command::new("true").process_group(0).spawn().expect("true is there");
        let leader = Pid::of(&child);
        child.wait().expect("it ends");
        assert_eq!(Orphans::default().left_by(leader, None), Left::Nothing);
    }

    /// The number of a group whose processes are gone may be that of another one.
    #[test]
    fn a_group_that_has_the_number_by_chance_is_not_ours() {
        let (leader, stdin) = leave();
        let mut orphans = Orphans::default();
        assert_eq!(orphans.left_by(leader, None), Left::Unknown);
        for member in orphans.groups[0].members.as_mut().expect("seen") {
            member.start -= 1;
        }
        assert!(!orphans.is_ours(leader));
        assert_eq!(orphans.are_left(leader, None, Instant::now()), Left::Nothing);
        assert_eq!(orphans.are_left(leader, None, Instant::now()), Left::Nothing, "it does not become ours later");
        drop(stdin);
    }

    /// What a shell runs in the background is of another program; a subshell is a part.
    #[test]
    fn what_executes_the_same_is_stopped_and_helpers_go_on() {
        for (command, want) in [
            ("exec 3<&0; sleep 20 & echo left; read line <&3", Left::Helpers),
            ("exec 3<&0; sleep 20 & (read line <&3) & echo left; read line <&3", Left::Parts),
        ] {
            let mut child = lead(command);
            let (leader, _stdin) = (Pid::of(&child), child.stdin.take());
            let mut orphans = Orphans::default();
            orphans.identify(leader);
            assert!(orphans.program(leader).is_some());
            child.kill().expect("killed");
            child.wait().expect("it ends");
            orphans.identify(leader);
            assert!(!orphans.is_reaped(leader));
            // A subshell is on its way to `sleep` for a moment.
            let is_so = |orphans: &mut Orphans| {
                let program = orphans.program(leader).or(orphans.groups.first().and_then(|group| group.program));
                orphans.programs = vec![(leader, program.expect("seen"))];
                orphans.groups.clear();
                orphans.left_by(leader, None) == want
            };
            wait_until(|| is_so(&mut orphans));
            assert!(orphans.is_reaped(leader));
            orphans.signal(leader, libc::SIGKILL, false, None).expect("sent");
            wait_until(|| orphans.are_left(leader, None, Instant::now()) == Left::Helpers);
            orphans.signal(leader, libc::SIGKILL, true, None).expect("sent");
            wait_until(|| orphans.are_left(leader, None, Instant::now()) == Left::Nothing);
        }
    }

    #[test]
    fn a_number_that_is_forked_again_is_of_a_new_process() {
        let (leader, _stdin) = leave();
        let mut orphans = Orphans::default();
        assert_eq!(orphans.left_by(leader, None), Left::Unknown);
        orphans.is_new(leader);
        assert!(!orphans.is_reaped(leader) && orphans.program(leader).is_none());
    }
}
