use std::fmt::Display;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::budget::Budget;
use crate::clock::{Clock, Deadline};
use crate::connection::Fault;
use crate::multiplex::REQUESTS;
use crate::news::News;
use crate::{Limits, Roles};

/// What all connections of an application share, whatever they come over.
pub(crate) struct App {
    pub(crate) roles: Roles,
    pub(crate) limits: Limits,
    pub(crate) config: fcgi_proto::Config,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    /// Whether requests of a connection run side by side.
    pub(crate) multiplex: bool,
    /// Whether peers may end their sending while they still wait for responses.
    pub(crate) half_close: bool,
    /// Whether stderr is the error log of the web server, so that what goes there need not be logged as well.
    pub(crate) stderr_is_error_log: bool,
    /// Handlers under way on multiplexed connections.
    handlers: AtomicUsize,
    stopping: AtomicBool,
    /// What handlers of multiplexed connections wait with.
    pub(crate) news: News,
    /// Whether the stop has gone on for so long that nothing new is to begin.
    late: AtomicBool,
    requests: AtomicU32,
}

impl App {
    pub(crate) fn new(roles: Roles, limits: Limits) -> Self {
        let connections = u32::try_from(limits.connections).unwrap_or(u32::MAX).max(1);
        Self {
            roles,
            limits,
            config: fcgi_proto::Config {
                max_params_len: limits.params_len,
                max_pairs: limits.pairs,
                max_conns: connections,
                max_reqs: connections,
            },
            budget: Budget::new(limits.budget),
            clock: Clock::new(),
            multiplex: false,
            half_close: false,
            stderr_is_error_log: false,
            handlers: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            news: News::default(),
            late: AtomicBool::new(false),
            requests: AtomicU32::new(0),
        }
    }

    /// The same with requests of a connection side by side.
    pub(crate) fn multiplexed(mut self) -> Self {
        self.multiplex = true;
        // Web servers take it for a number of each connection.
        self.config.max_reqs = REQUESTS as u32;
        self
    }

    /// The same with stderr for the error log of the web server.
    pub(crate) fn with_stderr_as_error_log(mut self) -> Self {
        self.stderr_is_error_log = true;
        self
    }

    /// Counts a handler of a multiplexed connection in; `false` if there are as many as there may be.
    pub(crate) fn enter_handler(&self) -> bool {
        let most = self.limits.connections.max(REQUESTS);
        let enter = |handlers: usize| (handlers < most).then_some(handlers + 1);
        self.handlers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    /// Counts one in that was counted out with the end of its response, and works on.
    pub(crate) fn reenter_handler(&self) {
        self.handlers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it out.
    pub(crate) fn leave_handler(&self) {
        self.handlers.fetch_sub(1, Ordering::Relaxed);
    }

    /// When a connection has waited long enough for a request, from now on.
    pub(crate) fn idle_until(&self) -> Deadline {
        self.limits.idle_time.map_or(Deadline::NEVER, |limit| self.clock.deadline(limit))
    }

    /// Whether connections are to end after the answer under way.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.news.tell();
    }

    /// Whether requests may begin; late in a stop they are refused, so that those under way end.
    pub(crate) fn may_begin(&self) -> bool {
        !self.late.load(Ordering::Acquire)
    }

    pub(crate) fn begin_no_more(&self) {
        self.late.store(true, Ordering::Release);
    }

    /// Counts a request that was answered; the last one allowed is a stop.
    pub(crate) fn count_request(&self) {
        if let Some(most) = self.limits.requests {
            if self.requests.fetch_add(1, Ordering::Relaxed) + 1 == most {
                self.stop();
            }
        }
    }

    /// Says why a connection ended before its time, unless peers cause too many lines.
    pub(crate) fn log_fault(&self, peer: &dyn Display, fault: &Fault) {
        match fault {
            Fault::Protocol(error) if self.clock.may_log() => log::warn!("{peer}: {error}; connection closed"),
            Fault::Socket(error) if error.kind() == ErrorKind::TimedOut && self.clock.may_log() => {
                log::warn!("{peer}: {error}; connection closed");
            }
            Fault::Protocol(_) => {}
            Fault::Socket(error) => log::debug!("{peer}: {error}; connection closed"),
        }
    }
}
