use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};

use socket2::Socket;

use crate::clock::Deadline;
use crate::wire::BREAK;

/// What a serving thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waiting for a connection.
    Accepting,
    /// Waiting for a request on its connection.
    Idle,
    /// Having a request; reading from its peer no longer than this.
    Busy(Deadline),
    /// In a write, which its peer is to have taken some of by then.
    Writing(Deadline),
    /// Having a handler that works on; the connection is another thread's.
    Detached,
}

/// What the rest of the process sees of a serving thread.
///
/// The thread publishes what it does by plain stores; the housekeeper looks at them and, when something is overdue or
/// in the way, shuts the connection down, which the thread then finds out from its read or write.
pub(crate) struct Slot {
    state: AtomicU32,
    /// When the handler under way is overdue.
    handler: AtomicU32,
    /// Times this slot was idle: the same number twice means idle ever since.
    idles: AtomicU32,
    /// When it has been idle for too long.
    idle_until: AtomicU32,
    /// Its place in the order in which connections were accepted or sent something.
    used: AtomicU32,
    timed_out: AtomicBool,
    /// Whether its thread is to be interrupted when the server stops.
    hears_stop: AtomicBool,
    /// Whether it was us who ended what comes.
    input_ended: AtomicBool,
    /// The connection; whoever holds the lock can be sure that it is this one and open.
    socket: RwLock<Option<Socket>>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(encode(State::Accepting)),
            handler: AtomicU32::new(Deadline::NEVER.0),
            idles: AtomicU32::new(0),
            idle_until: AtomicU32::new(Deadline::NEVER.0),
            used: AtomicU32::new(0),
            timed_out: AtomicBool::new(false),
            hears_stop: AtomicBool::new(false),
            input_ended: AtomicBool::new(false),
            socket: RwLock::new(None),
        }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.store(encode(state), Ordering::Release);
    }

    pub(crate) fn state(&self) -> State {
        decode(self.state.load(Ordering::Acquire))
    }

    /// Publishes that the thread waits for a request, no longer than this; what it has read meanwhile gives it no more
    /// time.
    pub(crate) fn set_idle(&self, until: Deadline) {
        if self.state() != State::Idle {
            self.idle_until.store(until.0, Ordering::Relaxed);
        }
        self.idles.store(self.idles.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.set(State::Idle);
    }

    /// How often the slot has been idle.
    pub(crate) fn idles(&self) -> u32 {
        self.idles.load(Ordering::Relaxed)
    }

    /// When the slot, if it is idle, has been so for too long.
    pub(crate) fn idle_until(&self) -> Deadline {
        Deadline(self.idle_until.load(Ordering::Relaxed))
    }

    /// Publishes that the connection is of use now, which is after all that have a smaller `order`.
    pub(crate) fn set_used(&self, order: u32) {
        self.used.store(order, Ordering::Relaxed);
    }

    /// Where in that order the connection was last of use.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Publishes when the handler is overdue.
    pub(crate) fn set_handler(&self, deadline: Deadline) {
        self.handler.store(deadline.0, Ordering::Relaxed);
    }

    pub(crate) fn handler(&self) -> Deadline {
        Deadline(self.handler.load(Ordering::Relaxed))
    }

    /// Whether the housekeeper ended the connection because a time limit was over.
    pub(crate) fn is_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Acquire)
    }

    /// Says whether the thread is to be interrupted when the server stops, again and again: it is in a wait, or about to be.
    pub(crate) fn set_hears_stop(&self, hears: bool) {
        self.hears_stop.store(hears, Ordering::Release);
    }

    /// Whether the thread is to look up when the server stops.
    pub(crate) fn hears_stop(&self) -> bool {
        self.state() == State::Accepting || self.hears_stop.load(Ordering::Acquire)
    }

    /// Whether the end of what comes is our doing, and says nothing of the peer.
    pub(crate) fn is_input_ended(&self) -> bool {
        self.input_ended.load(Ordering::Acquire)
    }

    /// Takes a connection in.
    pub(crate) fn open(&self, socket: Socket) {
        self.timed_out.store(false, Ordering::Relaxed);
        self.hears_stop.store(false, Ordering::Relaxed);
        self.input_ended.store(false, Ordering::Relaxed);
        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    /// Lends the connection out; it stays open meanwhile.
    pub(crate) fn with_socket<T>(&self, use_it: impl FnOnce(&Socket) -> T) -> Option<T> {
        self.socket.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(use_it)
    }

    /// Gives the connection back.
    pub(crate) fn close(&self) -> Option<Socket> {
        self.socket.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends a connection that is overdue, unless its thread has moved on from `state`.
    pub(crate) fn time_out(&self, state: State) {
        self.with_socket(|socket| {
            if self.state() == state {
                self.timed_out.store(true, Ordering::Release);
                // Only a peer that is gone already makes this fail.
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
    }

    /// Ends a connection whose handler is not waited for any longer so that no part of a response passes for whole. If its
    /// thread is inside a write, the end of the process cuts the record.
    pub(crate) fn break_off(&self) {
        self.with_socket(|socket| {
            if matches!(self.state(), State::Busy(_)) {
                // A peer that takes nothing more is told by the end of the connection.
                let _ = socket.send_with_flags(&BREAK, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
    }

    /// Makes the next read of an idle connection give what is queued, then the end of the input.
    pub(crate) fn end_input(&self) {
        self.with_socket(|socket| {
            if self.state() == State::Idle {
                self.input_ended.store(true, Ordering::Release);
                let _ = socket.shutdown(Shutdown::Read);
            }
        });
    }
}

/// The bit by which the two states with a deadline differ.
const WRITING: u32 = 1 << 31;

/// A state as a number. Deadlines begin at 2 ticks: smaller numbers are free for the other states.
fn encode(state: State) -> u32 {
    match state {
        State::Accepting => 0,
        State::Idle => 1,
        State::Detached => WRITING,
        State::Busy(Deadline(tick)) => tick,
        State::Writing(Deadline(tick)) => WRITING | tick,
    }
}

fn decode(number: u32) -> State {
    match number {
        0 => State::Accepting,
        1 => State::Idle,
        WRITING => State::Detached,
        tick if tick & WRITING == 0 => State::Busy(Deadline(tick)),
        tick => State::Writing(Deadline(tick ^ WRITING)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive() {
        let slot = Slot::new();
        let deadlines = [2, 3, 1 << 30, Deadline::NEVER.0].map(Deadline);
        let with_deadline = deadlines.into_iter().flat_map(|by| [State::Busy(by), State::Writing(by)]);
        for state in [State::Accepting, State::Idle, State::Detached].into_iter().chain(with_deadline) {
            slot.set(state);
            assert_eq!(slot.state(), state);
        }
    }
}
