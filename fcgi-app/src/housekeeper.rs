//! The thread that owns time: limits, lingering connections, idle ones that are in the way, and the stop.
//!
//! It sleeps while there is no connection, else it looks around once a second. A thread that accepts the first
//! connection wakes it up; so do a stop, a connection to linger, and the last free slot being taken.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::heartbeat::Heartbeat;
use crate::pool::Pool;
use crate::server::Shared;
use crate::slot::{Slot, State};
use crate::sys;

/// How long a tick of the clock is.
const TICK: Duration = Duration::from_secs(1);
/// An acceptor may be anywhere between looking at what it is to do and blocking: it is interrupted again and again.
const RETRY: Duration = Duration::from_millis(2);
/// How long an idle connection is left alone while others wait for its slot, or while the server stops.
const QUIET: Duration = Duration::from_millis(250);

pub(crate) struct Housekeeper {
    shared: Arc<Shared>,
    woken: UnixStream,
    lingering: VecDeque<Lingering>,
    last_tick: Instant,
    /// The last look for slots to free.
    idle: Option<IdleSlots>,
    /// The slot that was last told to leave.
    leaving: Option<IdleSlot>,
    heartbeat: Option<Heartbeat>,
    /// Whether a handler takes longer than it may.
    is_overdue: bool,
}

/// A slot that was idle at some time, how often it had been, and when it was of use before.
struct IdleSlot {
    slot: Arc<Slot>,
    idles: u32,
    used: u32,
}

impl IdleSlot {
    fn new(slot: &Arc<Slot>) -> Self {
        Self { slot: Arc::clone(slot), idles: slot.idles(), used: slot.used() }
    }

    /// Whether nothing has come since.
    fn is_quiet(&self) -> bool {
        self.slot.state() == State::Idle && self.slot.idles() == self.idles
    }

    /// Whether it has been of no use since, though something may have come that began no request.
    fn is_still(&self) -> bool {
        self.slot.state() == State::Idle && self.slot.used() == self.used
    }
}

/// All that were idle at some time.
struct IdleSlots {
    seen: Instant,
    slots: Vec<IdleSlot>,
}

impl IdleSlots {
    fn look(pool: &Pool) -> Self {
        let mut slots = Vec::new();
        pool.for_each(|slot| {
            if slot.state() == State::Idle {
                slots.push(IdleSlot::new(slot));
            }
        });
        Self { seen: Instant::now(), slots }
    }

    /// Whether they have been idle for long enough to be closed.
    fn is_due(&self) -> bool {
        self.seen.elapsed() >= QUIET
    }

    /// Those to which nothing has come since.
    fn quiet(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|idle| idle.is_quiet()).map(|idle| &*idle.slot)
    }

    /// Takes out the one that has been idle longest, if there are some that still are; `now` is where the order is.
    fn take_longest(&mut self, now: u32) -> Option<IdleSlot> {
        self.slots.retain(IdleSlot::is_still);
        let longest = (0..self.slots.len()).max_by_key(|&at| now.wrapping_sub(self.slots[at].used))?;
        Some(self.slots.swap_remove(longest))
    }
}

/// Why the housekeeper's work is over.
pub(crate) enum End {
    /// The server is to stop.
    Stop,
    /// A handler takes longer than it may.
    HandlerTime,
}

impl Housekeeper {
    pub(crate) fn new(shared: Arc<Shared>, woken: UnixStream, heartbeat: Option<Heartbeat>) -> Self {
        let (lingering, last_tick) = (VecDeque::new(), Instant::now());
        Self { shared, woken, lingering, last_tick, idle: None, leaving: None, heartbeat, is_overdue: false }
    }

    /// Works until the server is to stop.
    pub(crate) fn run(&mut self) -> io::Result<End> {
        self.woken.set_nonblocking(true)?;
        loop {
            let timeout = if self.shared.pool.offer() { Some(RETRY) } else { self.timeout() };
            if let (None, Some(heartbeat)) = (timeout, &mut self.heartbeat) {
                heartbeat.rest();
            }
            let (woken, waiting) = self.wait(timeout, self.can_make_room())?;
            self.shared.asleep.store(false, Ordering::SeqCst);
            if (woken && self.hear_stop()) || self.shared.app.is_stopping() {
                return Ok(End::Stop);
            }
            if self.last_tick.elapsed() >= TICK {
                self.last_tick = Instant::now();
                self.shared.app.clock.tick();
                let was_overdue = self.is_overdue;
                self.is_overdue = self.look_for_overdue();
                match &mut self.heartbeat {
                    Some(heartbeat) if !self.is_overdue => heartbeat.beat(),
                    Some(heartbeat) if !was_overdue => {
                        log::error!("a handler takes longer than Limits::handler_time: the heartbeat stops");
                        heartbeat.stop();
                    }
                    Some(_) => {}
                    None if self.is_overdue => return Ok(End::HandlerTime),
                    None => {}
                }
            }
            if waiting {
                self.make_room();
            }
            self.drain();
        }
    }

    /// Stops the server: `true` if all requests under way ended in time.
    pub(crate) fn stop(&mut self, timeout: Duration) -> bool {
        /// Some web servers say it twice in a row; who says it again later means at once.
        const TWICE: Duration = Duration::from_secs(3);
        let begun = Instant::now();
        for (socket, _) in self.shared.pool.given().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // It has an end of its own.
        self.heartbeat.iter_mut().for_each(Heartbeat::rest);
        let mut idle = IdleSlots::look(&self.shared.pool);
        loop {
            let all_ended = self.shared.pool.end();
            // What was accepted since the stop began has its quiet time, too.
            if idle.is_due() {
                idle.quiet().for_each(Slot::end_input);
                idle = IdleSlots::look(&self.shared.pool);
            }
            self.drain();
            if all_ended && self.lingering.is_empty() || begun.elapsed() >= timeout {
                return all_ended;
            }
            if begun.elapsed() >= timeout / 2 {
                self.shared.app.begin_no_more();
            }
            if self.hear_stop() && begun.elapsed() > TWICE {
                return false;
            }
            if self.last_tick.elapsed() >= TICK {
                self.last_tick = Instant::now();
                self.shared.app.clock.tick();
                self.look_for_overdue();
            }
            let _ = self.wait(Some(RETRY), false);
        }
    }

    /// How long to sleep; for ever when nobody is there.
    fn timeout(&self) -> Option<Duration> {
        if let Some(idle) = self.idle.as_ref().filter(|idle| !idle.is_due()) {
            return Some(QUIET.saturating_sub(idle.seen.elapsed()));
        }
        // In this order: who begins to serve after our look finds the flag, and wakes us.
        self.shared.asleep.store(true, Ordering::SeqCst);
        let busy = self.shared.pool.is_serving() || !self.lingering.is_empty();
        if !busy {
            return None;
        }
        self.shared.asleep.store(false, Ordering::SeqCst);
        Some(TICK.saturating_sub(self.last_tick.elapsed()))
    }

    /// Waits; says whether it was woken, and whether a connection waits to be accepted.
    fn wait(&self, timeout: Option<Duration>, watch_listener: bool) -> io::Result<(bool, bool)> {
        let mut fds = vec![self.woken.as_fd()];
        if watch_listener {
            fds.push(self.shared.listener.as_fd());
        }
        fds.extend(self.lingering.iter().map(|lingering| lingering.socket.as_fd()));
        let ready = sys::poll_readable(&fds, timeout)?;
        Ok((ready[0], watch_listener && ready[1]))
    }

    /// Takes what woke us; `true` if a stop was asked for since the last time.
    fn hear_stop(&mut self) -> bool {
        while matches!(self.woken.read(&mut [0; 64]), Ok(64)) {}
        self.shared.waker.take_stop()
    }

    /// Ends the connections whose time is over; `true` if a handler's is.
    fn look_for_overdue(&self) -> bool {
        let clock = &self.shared.app.clock;
        let mut handler_overdue = false;
        self.shared.pool.for_each_thread(|slot, thread| {
            handler_overdue |= clock.is_past(slot.handler());
            match slot.state() {
                state @ State::Busy(deadline) if clock.is_past(deadline) => slot.time_out(state),
                // What its peer has taken meanwhile is how much its write returns, or none of it.
                State::Writing(deadline) if clock.is_past(deadline) => sys::interrupt(thread),
                State::Idle if clock.is_past(slot.idle_until()) => slot.end_input(),
                State::Accepting | State::Idle | State::Busy(_) | State::Writing(_) | State::Detached => {}
            }
        });
        handler_overdue
    }

    /// Whether it is of interest that a connection waits: not while another makes room already, nor before it is known
    /// which have been idle for 250 ms.
    fn can_make_room(&self) -> bool {
        let is_leaving = self.leaving.as_ref().is_some_and(IdleSlot::is_still);
        let is_due = self.idle.as_ref().is_none_or(IdleSlots::is_due);
        self.shared.pool.needs_room() && is_due && !is_leaving
    }

    /// Closes the connection that has been idle longest, of those that were 250 ms ago; without any it looks which are.
    fn make_room(&mut self) {
        let now = self.shared.app.clock.order();
        self.leaving = self.idle.as_mut().and_then(|idle| idle.take_longest(now));
        match &self.leaving {
            Some(longest) => longest.slot.end_input(),
            None => self.idle = Some(IdleSlots::look(&self.shared.pool)),
        }
    }

    /// Reads what lingering connections still bring, and closes those that are done.
    fn drain(&mut self) {
        for socket in self.shared.to_linger() {
            if self.lingering.len() == Lingering::MOST {
                self.lingering.pop_front();
            }
            if let Ok(lingering) = Lingering::new(socket) {
                self.lingering.push_back(lingering);
            }
        }
        self.lingering.retain_mut(Lingering::drain);
    }
}

/// A connection that was closed on our side while its peer may still be sending: closing it whole would reset it, and
/// the reset can overtake the answer.
struct Lingering {
    socket: Socket,
    until: Instant,
    bytes_left: usize,
}

impl Lingering {
    /// How many there are at most; the oldest goes first.
    const MOST: usize = 64;
    const TIME: Duration = Duration::from_secs(2);
    const BYTES: usize = 16 << 20;

    fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, until: Instant::now() + Self::TIME, bytes_left: Self::BYTES })
    }

    /// Discards what is there; `false` when the connection can be closed.
    fn drain(&mut self) -> bool {
        let goes_on = self.discard();
        if !goes_on {
            // A handler that works on behind its response has a descriptor of it, too.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        goes_on
    }

    fn discard(&mut self) -> bool {
        let mut buffer = [0; 16384];
        while self.bytes_left > 0 && Instant::now() < self.until {
            match sys::read(self.socket.as_fd(), &mut buffer) {
                Ok(0) => return false,
                Ok(read) => self.bytes_left = self.bytes_left.saturating_sub(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}

/// Wakes the housekeeper up.
#[derive(Debug, Clone)]
pub(crate) struct Waker {
    stream: Arc<UnixStream>,
    /// Whether it is to stop the server: apart from the stream, which may be full.
    stop: Arc<AtomicBool>,
}

impl Waker {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: Arc::new(stream), stop: Arc::new(AtomicBool::new(false)) })
    }

    /// Lets a signal stop the server.
    pub(crate) fn stop_on(&self, signal: i32) -> io::Result<()> {
        // In this order: who hears the bell finds the flag set.
        signal_hook::flag::register(signal, Arc::clone(&self.stop))?;
        signal_hook::low_level::pipe::register(signal, self.stream.try_clone()?)?;
        // Between the two there was a flag and no bell.
        if self.stop.load(Ordering::SeqCst) {
            self.look();
        }
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.look();
    }

    fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Has it look around.
    pub(crate) fn look(&self) {
        // A full stream wakes it up just as well, and a server that is gone has nothing to look at.
        let _ = (&*self.stream).write(&[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Deadline;

    #[test]
    fn the_longest_idle_goes_first() {
        let orders = [u32::MAX - 1, 3, u32::MAX, 0, 1];
        let slots = orders.map(|order| {
            let slot = Arc::new(Slot::new());
            slot.set_used(order);
            slot.set_idle(Deadline::NEVER);
            IdleSlot::new(&slot)
        });
        let mut idle = IdleSlots { seen: Instant::now(), slots: slots.into() };
        // One that was of use in between, and one to which only something came.
        idle.slots[3].slot.set_used(2);
        idle.slots[2].slot.set_idle(Deadline::NEVER);
        let taken: Vec<_> = std::iter::from_fn(|| idle.take_longest(4)).map(|idle| idle.used).collect();
        assert_eq!(taken, [u32::MAX - 1, u32::MAX, 1, 3]);
    }

    /// A signal may arrive when the flag is there and the stream is not.
    #[test]
    fn a_signal_that_comes_while_it_is_registered_is_not_lost() {
        let (mut reader, stream) = UnixStream::pair().expect("a pair");
        reader.set_nonblocking(true).expect("it is ours");
        let waker = Waker::new(stream).expect("it is ours");
        waker.stop_on(signal_hook::consts::SIGUSR2).expect("registered");
        assert!(Read::read(&mut reader, &mut [0; 8]).is_err(), "nothing has happened");
        waker.stop.store(true, Ordering::SeqCst);
        waker.stop_on(signal_hook::consts::SIGWINCH).expect("registered");
        assert_eq!(Read::read(&mut reader, &mut [0; 8]).expect("it is woken up"), 1);
        assert!(waker.take_stop());
    }
}
