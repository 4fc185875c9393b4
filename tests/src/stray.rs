//! Processes that are not children of the test.

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::eventually;
use crate::proc;

/// A process that somebody else started for us, such as a daemon or a worker. It is ended, by its pid, when
/// the value is dropped.
#[derive(Debug)]
pub struct Stray {
    pid: u32,
    /// With the pid it names one process for good: pids are given out again.
    started: Option<u64>,
}

impl Stray {
    /// Takes charge of process `pid`.
    pub fn adopt(pid: u32) -> Self {
        Stray { pid, started: proc::start_time(pid) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.started.is_some() && proc::start_time(self.pid) == self.started && proc::is_alive(self.pid)
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it has not in time.
    #[track_caller]
    pub fn wait_gone(&self) {
        eventually(&format!("end of process {}", self.pid), || (!self.is_alive()).then_some(()));
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
