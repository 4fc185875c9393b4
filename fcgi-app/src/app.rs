use std::fmt::Display;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::connection::Fault;
use crate::{Limits, Roles};

/// What all connections of an application share, whatever they come over.
pub(crate) struct App {
    pub(crate) roles: Roles,
    pub(crate) limits: Limits,
    pub(crate) config: fcgi_proto::Config,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    stopping: AtomicBool,
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
            stopping: AtomicBool::new(false),
            requests: AtomicU32::new(0),
        }
    }

    /// Whether connections are to end after the answer under way.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
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
