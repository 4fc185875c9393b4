//! The threads that accept and serve connections.
//!
//! Each thread blocks in accept, serves what it got, and accepts again: nothing is handed over between threads. The
//! last one to leave accept starts another, up to the limit; at the limit nobody accepts and the backlog waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::Socket;

use crate::clock::Deadline;
use crate::connection::{self, Buffers, Close};
use crate::exchange::catch;
use crate::multiplex;
use crate::peer::Peer;
use crate::server::Shared;
use crate::slot::{Slot, State};
use crate::sys;
use crate::wire::Stream;

type Thread = (Arc<Slot>, JoinHandle<()>);

/// The serving threads.
pub(crate) struct Pool {
    threads: Mutex<Vec<Thread>>,
    /// How many there are.
    started: AtomicUsize,
    /// How many of them are waiting for a connection, or are about to be.
    accepting: AtomicUsize,
    max_threads: usize,
    /// Connections whose handlers work on behind the ends of their responses, for threads that accept.
    given: Mutex<VecDeque<(Socket, Peer)>>,
    /// Whether a thread lacked something to accept a connection with since the housekeeper last asked.
    lacks: AtomicBool,
    /// Until when that is nothing new.
    lack_is_known_until: AtomicU32,
}

impl Pool {
    pub(crate) fn new(max_threads: usize) -> Self {
        Self {
            threads: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            // The first thread's place.
            accepting: AtomicUsize::new(1),
            max_threads: max_threads.max(1),
            given: Mutex::new(VecDeque::new()),
            lacks: AtomicBool::new(false),
            lack_is_known_until: AtomicU32::new(0),
        }
    }

    /// Starts a thread, which has its place in accept already; `false` if all are started.
    pub(crate) fn grow(shared: &Arc<Shared>) -> io::Result<bool> {
        let pool = &shared.pool;
        let mut threads = pool.lock();
        if threads.len() == pool.max_threads {
            return Ok(false);
        }
        let slot = Arc::new(Slot::new());
        let (its_slot, its_shared) = (Arc::clone(&slot), Arc::clone(shared));
        let stack = shared.app.limits.stack;
        sys::check_room_for_thread(stack)?;
        let thread = thread::Builder::new().stack_size(stack).spawn(move || run(&its_shared, &its_slot))?;
        threads.push((slot, thread));
        pool.started.store(threads.len(), Ordering::SeqCst);
        Ok(true)
    }

    /// Gives a connection to a thread that accepts; `false` if there is none.
    fn give(&self, connection: (Socket, Peer)) -> bool {
        if self.is_full() {
            return false;
        }
        self.given().push_back(connection);
        self.offer();
        true
    }

    /// Has threads look up from accept while there is a connection that was given away; `true` if there is one.
    pub(crate) fn offer(&self) -> bool {
        let is_there = !self.given().is_empty();
        if is_there {
            let threads = self.lock();
            let accepting = threads.iter().filter(|(slot, _)| slot.state() == State::Accepting);
            accepting.for_each(|(_, thread)| sys::interrupt(thread));
        }
        is_there
    }

    /// The connections that were given away and that no thread has.
    pub(crate) fn given(&self) -> MutexGuard<'_, VecDeque<(Socket, Peer)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a connection.
    pub(crate) fn is_serving(&self) -> bool {
        self.started.load(Ordering::SeqCst) > self.accepting.load(Ordering::SeqCst)
    }

    /// Whether a request is under way, or its handler.
    pub(crate) fn is_at_work(&self) -> bool {
        let is_at_work = |slot: &Slot| !matches!(slot.state(), State::Accepting | State::Idle);
        self.lock().iter().any(|(slot, _)| is_at_work(slot))
    }

    /// Whether no thread accepts: every thread there may be has a connection, or there can be no more threads.
    fn is_full(&self) -> bool {
        self.accepting.load(Ordering::SeqCst) == 0
    }

    /// Whether only the end of a connection makes room for another.
    pub(crate) fn needs_room(&self) -> bool {
        self.lacks.swap(false, Ordering::Relaxed) || self.is_full()
    }

    pub(crate) fn for_each(&self, mut look_at: impl FnMut(&Arc<Slot>)) {
        self.for_each_thread(|slot, _| look_at(slot));
    }

    pub(crate) fn for_each_thread(&self, mut look_at: impl FnMut(&Arc<Slot>, &JoinHandle<()>)) {
        self.lock().iter().for_each(|(slot, thread)| look_at(slot, thread));
    }

    /// Makes the threads of a server that is stopping look up from accept, and from the waits of handlers; those that serve
    /// end after the response under way. `true` when all have ended.
    pub(crate) fn end(&self) -> bool {
        let mut all_ended = true;
        for (slot, thread) in self.lock().iter().filter(|(_, thread)| !thread.is_finished()) {
            all_ended = false;
            if slot.hears_stop() {
                sys::interrupt(thread);
            }
        }
        all_ended
    }

    fn enter_accept(&self) {
        self.accepting.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a thread out of accept. The last one keeps its place for another, if `start` starts one: what can still
    /// grow is never full, not even for a moment, in which an idle connection would have to make room for nobody.
    fn leave_accept(&self, start: impl FnOnce() -> bool) {
        let leave = |accepting| (accepting > 1).then(|| accepting - 1);
        if self.accepting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave).is_err() && !start() {
            self.accepting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of a serving thread.
fn run(shared: &Arc<Shared>, slot: &Slot) {
    sys::unblock_interrupt();
    let mut buffers = Buffers::new();
    while !shared.app.is_stopping() {
        let given = shared.pool.given().pop_front();
        let is_given = given.is_some();
        let Some((socket, peer)) = given.or_else(|| accept(shared)) else { continue };
        slot.set_used(shared.app.clock.order());
        slot.set_idle(shared.app.idle_until());
        shared.pool.leave_accept(|| {
            Pool::grow(shared).unwrap_or_else(|error| {
                lack(shared, "cannot start another thread", &error);
                false
            })
        });
        if shared.pool.is_full() {
            shared.waker.look();
        }
        shared.rouse_housekeeper();
        let socket = serve(shared, slot, socket, &peer, &mut buffers);
        if let (Some(socket), true) = (&socket, is_given) {
            // The thread that gave it away has a descriptor of it, too.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(socket);
        slot.set(State::Accepting);
        shared.pool.enter_accept();
    }
}

/// Serves a connection, and gives it back to be closed, unless another has it.
fn serve(shared: &Arc<Shared>, slot: &Slot, socket: Socket, peer: &Peer, buffers: &mut Buffers) -> Option<Socket> {
    slot.open(socket);
    // A logger may panic, too. That ends the connection, and no more.
    let served = slot.with_socket(|socket| {
        catch(|| match shared.app.multiplex {
            true => multiplex::serve(&shared.app, slot, socket, buffers),
            false => connection::serve(&shared.app, slot, &Served { socket, shared, peer }, buffers),
        })
    });
    let served = served.and_then(Result::ok);
    slot.set_handler(Deadline::NEVER);
    let socket = slot.close();
    if shared.app.is_stopping() {
        shared.waker.look();
    }
    match (served, socket) {
        (Some(Ok(Close::Linger)), Some(socket)) if socket.shutdown(Shutdown::Write).is_ok() => {
            shared.linger(socket);
            None
        }
        // Another has it, by a descriptor of its own.
        (Some(Ok(Close::GivenAway)), _) => None,
        (Some(Err(fault)), socket) => {
            let _ = catch(|| shared.app.log_fault(peer, &fault));
            socket
        }
        (_, socket) => socket,
    }
}

/// A connection that is served, with what it can be given away to.
struct Served<'s> {
    socket: &'s Socket,
    shared: &'s Arc<Shared>,
    peer: &'s Peer,
}

impl Stream for Served<'_> {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Stream::read(self.socket, buffer)
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Stream::write_vectored(self.socket, slices)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.descriptor()
    }

    #[cold]
    fn give_away(&self, is_kept: bool) {
        let copy = || self.socket.try_clone();
        let is_given = is_kept && copy().is_ok_and(|copy| self.shared.pool.give((copy, self.peer.clone())));
        if is_given {
            // Until a thread has it.
            self.shared.waker.look();
        } else if self.socket.shutdown(Shutdown::Write).is_ok() {
            // Without a descriptor for the housekeeper it is closed when the handler returns.
            let _ = copy().map(|copy| self.shared.linger(copy));
        }
    }
}

/// Waits for a connection. `None` after an error that passes, a signal that wants the thread to look up, and for a peer
/// that is not welcome.
#[inline(never)] // Room for addresses is not to be on the stack while a connection is served.
fn accept(shared: &Shared) -> Option<(Socket, Peer)> {
    let error = match shared.listener.accept() {
        Ok((socket, address)) => {
            let peer = Peer::new(&address);
            return shared.allowed_peers.admit(&peer).then_some((socket, peer));
        }
        Err(error) => error,
    };
    match error.raw_os_error() {
        // A peer that left before it was accepted, in one of the ways accept(2) lists; or our own signal.
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::EPERM,
        ) => {}
        // A sibling made the socket it shares with us non-blocking.
        Some(libc::EAGAIN) => drop(sys::poll_readable(&[shared.listener.as_fd()], None)),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
            lack(shared, "cannot accept connections for now", &error);
            thread::sleep(Duration::from_millis(100));
        }
        _ => shared.fail(error),
    }
    None
}

/// Has idle connections make room when something lacks for others. That is said once, and again
/// only after a minute without.
fn lack(shared: &Shared, what: &str, error: &io::Error) {
    const NEWS: Duration = Duration::from_secs(60);
    let (pool, clock) = (&shared.pool, &shared.app.clock);
    let known_until = pool.lack_is_known_until.swap(clock.deadline(NEWS).0, Ordering::Relaxed);
    if clock.is_past(Deadline(known_until)) {
        log::error!("{what}: {error}");
    }
    if !pool.lacks.swap(true, Ordering::Relaxed) {
        shared.waker.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_can_grow_is_never_full() {
        let pool = Pool::new(2);
        pool.leave_accept(|| {
            assert!(!pool.is_full(), "the place is kept while a thread is started");
            true
        });
        assert!(!pool.is_full());
        pool.enter_accept();
        pool.leave_accept(|| panic!("another accepts"));
        pool.leave_accept(|| false);
        assert!(pool.is_full());
    }
}
