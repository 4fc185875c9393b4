//! What the supervisor does with the listening socket, which the workers share: when one has shut it down, and at a stop.

use std::time::{Duration, Instant};

use crate::Supervisor;
use crate::files::status_file::StatusFile;
use crate::fleet::note::Cause;
use crate::fleet::{Event, Phase};
use crate::socket::listener::Listener;
use crate::sys;
use crate::takeover::upgrade::Upgrade;

/// How often it is reported that a socket was shut down that only another process can bind anew.
const DAY: Duration = Duration::from_secs(86_400);

/// How long clients that have connected before a stop may wait to be accepted.
const CLOSING: Duration = Duration::from_secs(1);

/// Between two looks whether they are.
const CLOSING_LOOK: Duration = Duration::from_millis(5);

impl Supervisor {
    /// Workers share the listening socket, and one has shut it down: no client can connect any more.
    pub(crate) fn bind_anew(&mut self) {
        self.listener_pause = Some(Instant::now() + self.setup.config().restart_delay.max(Duration::from_secs(1)));
        self.is_changed = true;
        let is_over = self.fleet.phase == Phase::Stopping || self.closing.is_some();
        let listener = self.listener.as_mut().filter(|listener| !is_over && listener.is_shut_down());
        let Some(listener) = listener else { return };
        match listener.bind_anew() {
            Ok(()) => {
                log::error!("the listening socket was shut down by a worker: bound anew, the workers are replaced");
                self.tell(Event::Reload(Cause::Listener));
            }
            Err(error) if listener.is_ours() => {
                log::error!("the listening socket was shut down by a worker, no client can connect: {error}");
            }
            Err(error) => {
                log::error!("the listening socket was shut down, no client can connect; {error}");
                self.listener_pause = Some(Instant::now() + DAY);
            }
        }
    }

    /// A stop lets others in: the file of the socket goes first. Who has connected is served before the workers are asked.
    pub(crate) fn stop(&mut self) {
        // Nothing takes our place any more.
        self.upgrade.iter_mut().for_each(Upgrade::cancel);
        // A launcher that starts as soon as the path is free finds the page free, too.
        self.status.iter_mut().for_each(StatusFile::changed_for_all);
        self.report();
        self.status.iter_mut().for_each(StatusFile::finish);
        let had_file = self.listener.as_mut().is_some_and(Listener::unlink);
        if had_file && self.fleet.phase == Phase::Serving {
            self.closing = Some(Instant::now() + CLOSING);
        } else {
            self.closing = None;
            self.tell(Event::Stop);
        }
    }

    /// When to look at that again.
    pub(crate) fn closing_look(&self, now: Instant) -> Option<Instant> {
        self.closing.map(|until| until.min(now + CLOSING_LOOK))
    }

    /// Asks the workers, when no client waits any more.
    pub(crate) fn close_further(&mut self) {
        let Some(until) = self.closing else { return };
        let is_served = !self.connection_waits() || self.listener.as_ref().is_none_or(Listener::is_shut_down);
        if is_served || Instant::now() >= until {
            self.closing = None;
            self.tell(Event::Stop);
        }
    }

    pub(crate) fn connection_waits(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| sys::is_readable_within(listener, Duration::ZERO))
    }
}
