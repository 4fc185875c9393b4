//! A child process of a test.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::deadline::{Deadline, PATIENCE, eventually_within};

/// How long a process may take to leave after SIGTERM when its test is over, before it is killed.
const LAST_GRACE: Duration = Duration::from_secs(15);

/// A running program whose output is collected, and which is ended and reaped when the value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    stdout: Output,
    stderr: Output,
}

impl Process {
    /// Starts `command`; its standard output and error are collected, its input stays as the command has it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{shown} does not start: {error}"));
        let stdout = Output::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::collect(child.stderr.take().expect("stderr is piped"));
        Process { child, command: shown, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output.
    pub fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// What it has written to its standard error.
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Sends it a signal; nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        // A child that was not waited for keeps its pid, so the signal cannot hit a stranger.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(self.kernel_pid(), signal);
        }
    }

    /// Sends a signal to its process group, as a terminal does on Ctrl-C. For commands started with
    /// `process_group(0)`: any other group would be the test's own.
    pub fn signal_group(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.kernel_pid(), signal);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it has not after [`PATIENCE`].
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.wait_exit_within(PATIENCE)
    }

    /// [`wait_exit`](Self::wait_exit) with a time of its own.
    ///
    /// # Panics
    /// When it has not ended after `time`.
    #[track_caller]
    pub fn wait_exit_within(&mut self, time: Duration) -> ExitStatus {
        let what = format!("end of {}", self.command);
        eventually_within(time, &what, || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it has not ended after [`PATIENCE`].
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    fn kernel_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "--- {}\n--- stdout:\n{}--- stderr:\n{}---",
                self.command,
                self.stdout.text(),
                self.stderr.text()
            );
        }
        let deadline = Deadline::after(LAST_GRACE);
        self.signal(Signal::TERM);
        while let Ok(None) = self.child.try_wait() {
            if deadline.passed() {
                eprintln!("{} ignored SIGTERM for {LAST_GRACE:?}: killed", self.command);
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a process writes to one of its streams, collected by a thread while it runs.
#[derive(Clone, Debug)]
pub struct Output(Arc<Collected>);

#[derive(Debug)]
struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    /// The thread ends with the stream. It is not joined: a process that outlives ours may hold the stream.
    fn collect(mut stream: impl Read + Send + 'static) -> Self {
        let state = Mutex::new(State { bytes: Vec::new(), ended: false });
        let output = Output(Arc::new(Collected { state, changed: Condvar::new() }));
        let collector = output.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = match stream.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    result => result.unwrap_or(0),
                };
                let mut state = collector.lock();
                state.bytes.extend_from_slice(&buffer[..count]);
                state.ended = count == 0;
                collector.0.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        output
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// The complete lines so far, without their ends.
    pub fn lines(&self) -> Vec<String> {
        complete_lines(&self.text())
    }

    /// All of it, when the process, and whoever shares the stream with it, has ended.
    ///
    /// # Panics
    /// When somebody still holds the stream after [`PATIENCE`].
    #[track_caller]
    pub fn to_end(&self) -> String {
        self.wait("the end of an output", |state| {
            state.ended.then(|| String::from_utf8_lossy(&state.bytes).into_owned())
        })
    }

    /// The first complete line that `wanted` likes, now or later.
    ///
    /// # Panics
    /// With `what` and the output so far, when there is none after [`PATIENCE`] or when the stream ends without.
    #[track_caller]
    pub fn wait_for_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = self.wait(what, |state| {
            let lines = complete_lines(&String::from_utf8_lossy(&state.bytes));
            let found = lines.into_iter().find(|line| wanted(line));
            if found.is_some() || state.ended { Some(found) } else { None }
        });
        found.unwrap_or_else(|| panic!("the output ended without {what}:\n{}", self.text()))
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Deadline::after(PATIENCE);
        let mut state = self.lock();
        loop {
            let last = deadline.passed();
            if let Some(seen) = look(&state) {
                return seen;
            }
            assert!(!last, "not within {PATIENCE:?}: {what}; so far:\n{}", String::from_utf8_lossy(&state.bytes));
            let waited = self.0.changed.wait_timeout(state, deadline.left());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complete_lines(text: &str) -> Vec<String> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    if complete.is_empty() && !text.starts_with('\n') {
        return Vec::new();
    }
    complete.split('\n').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()))
    }

    #[test]
    fn a_line_counts_when_it_is_complete() {
        assert_eq!(complete_lines(""), Vec::<String>::new());
        assert_eq!(complete_lines("half"), Vec::<String>::new());
        assert_eq!(complete_lines("one\nhalf"), ["one"]);
        assert_eq!(complete_lines("one\n\ntwo\n"), ["one", "", "two"]);
        assert_eq!(complete_lines("\n"), [""]);
    }

    #[test]
    fn output_and_status_are_seen() {
        let mut process = shell("echo out; echo err >&2; exit 7");
        assert_eq!(process.stderr().wait_for_line("err", |line| line == "err"), "err");
        assert_eq!(process.wait_exit().code(), Some(7));
        assert_eq!(process.stdout().to_end(), "out\n");
    }

    #[test]
    #[should_panic(expected = "the output ended without a miracle")]
    fn a_line_that_cannot_come_any_more_is_not_waited_for() {
        shell("echo out").stdout().wait_for_line("a miracle", |line| line == "miracle");
    }

    #[test]
    fn dropping_ends_the_process() {
        let process = shell("echo ready; exec sleep 1000");
        process.stdout().wait_for_line("ready", |line| line == "ready");
        let pid = process.pid();
        drop(process);
        assert!(!crate::proc::is_alive(pid));
    }
}
