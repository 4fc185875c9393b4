//! One of several requests of a connection: what its handler and the reader share, and what its answer goes out over.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fcgi_proto::Role;

use super::Connection;
use crate::queue::Queue;
use crate::roles::Handler;
use crate::wire::{Ended, Output, aborted};

/// A request with its handler, as the reader knows it.
pub(super) struct Exchange<'c> {
    pub(super) id: u16,
    pub(super) role: Role,
    pub(super) handler: Handler<'c>,
    pub(super) params_len: usize,
    pub(super) queue: Queue<'c>,
    /// Whether the answer may begin: a Filter's not before the end of its STDIN.
    pub(super) may_answer: AtomicBool,
    /// Whether the web server wants no more than its end.
    pub(super) aborted: AtomicBool,
    /// Whether its connection ended.
    pub(super) lost: AtomicBool,
    /// Whether nothing comes of it any more, by which TCP says that it was closed.
    pub(super) gone: AtomicBool,
    /// Whether its response has ended before its handler.
    pub(super) detached: AtomicBool,
    /// When its handler is overdue.
    pub(super) overdue: AtomicU32,
}

impl Exchange<'_> {
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.queue.lose();
    }
}

/// What the answer to a request goes out over.
pub(super) struct Channel<'m, 'c> {
    pub(super) connection: &'m Connection<'c>,
    pub(super) id: u16,
    /// None for one that is refused.
    pub(super) exchange: Option<&'m Arc<Exchange<'c>>>,
}

impl Channel<'_, '_> {
    fn is_detached(&self) -> bool {
        self.exchange.is_some_and(|exchange| exchange.detached.load(Ordering::Acquire))
    }
}

impl Output for Channel<'_, '_> {
    fn may_answer(&self) -> bool {
        self.exchange.is_none_or(|exchange| exchange.may_answer.load(Ordering::Acquire))
    }

    fn may_send(&self) -> bool {
        let broken = self.connection.broken.load(Ordering::Acquire);
        !broken && self.exchange.is_none_or(|exchange| !exchange.is_aborted() && !exchange.is_lost())
    }

    fn is_gone(&self) -> bool {
        self.exchange.is_some_and(|exchange| exchange.gone.load(Ordering::Acquire))
    }

    fn is_stopping(&self) -> bool {
        self.connection.app.is_stopping()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn wait(&self, time: Duration, hears_stop: bool) {
        /// How often the handler looks for itself, since the reader may be waiting for room in a queue.
        const LOOK: Duration = Duration::from_secs(1);
        let begun = Instant::now();
        let is_over = || {
            let is_gone = !self.is_detached() && (!self.may_send() || self.is_gone());
            is_gone || (hears_stop && self.is_stopping())
        };
        loop {
            let left = time.saturating_sub(begun.elapsed());
            self.connection.app.news.wait(left.min(LOOK), || is_over().then_some(()));
            if is_over() || left <= LOOK {
                break;
            }
            self.look();
        }
    }

    fn look(&self) {
        if let Some(exchange) = self.exchange.filter(|_| !self.is_detached()) {
            self.connection.look(exchange);
        }
    }

    fn detach(&self) {
        if let Some(exchange) = self.exchange {
            exchange.detached.store(true, Ordering::Release);
            self.connection.detach(exchange);
        }
    }

    fn send(&self, slices: &mut [IoSlice<'_>], is_end: bool) -> io::Result<()> {
        match self.exchange {
            Some(exchange) if exchange.is_lost() => return Err(aborted("the connection is lost")),
            Some(exchange) if exchange.is_aborted() && !is_end => {
                return Err(aborted("the web server aborted the request"));
            }
            Some(_) | None => {}
        }
        self.connection.send(slices, is_end.then_some(self.id))
    }

    fn break_off(&self, records: Vec<u8>, end: &[u8]) -> io::Result<Ended> {
        self.connection.break_off(self.id, records, end)
    }
}
