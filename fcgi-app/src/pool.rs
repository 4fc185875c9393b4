//! The threads that accept and serve connections.
//!
//! Each thread blocks in accept, serves what it got, and accepts again: nothing is handed over between threads. The
//! last one to leave accept starts another, up to the limit; at the limit nobody accepts and the backlog waits.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::connection::{self, Buffers};
use crate::peer::Peer;
use crate::server::Shared;
use crate::sys;

/// Stack of a serving thread, in bytes: address space, of which only what is touched becomes memory.
const STACK: usize = 256 * 1024;

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Waiting for a connection.
    Accepting,
    /// Waiting for a request on its connection.
    Idle,
    /// Answering one.
    Busy,
}

/// What the rest of the process sees of a serving thread.
pub(crate) struct Slot {
    state: AtomicU8,
    /// The connection; whoever holds the lock can be sure that it is this one and open.
    socket: RwLock<Option<Socket>>,
}

impl Slot {
    fn new() -> Self {
        Self { state: AtomicU8::new(State::Accepting as u8), socket: RwLock::new(None) }
    }

    pub(crate) fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u8
    }
}

/// The serving threads.
pub(crate) struct Pool {
    threads: Mutex<Vec<(Arc<Slot>, JoinHandle<()>)>>,
    /// How many of them are waiting for a connection.
    accepting: AtomicUsize,
    max_threads: usize,
}

impl Pool {
    pub(crate) fn new(max_threads: usize) -> Self {
        Self { threads: Mutex::new(Vec::new()), accepting: AtomicUsize::new(0), max_threads: max_threads.max(1) }
    }

    /// Starts a thread unless all are started.
    pub(crate) fn grow(shared: &Arc<Shared>) -> io::Result<()> {
        let pool = &shared.pool;
        let mut threads = pool.lock();
        if threads.len() < pool.max_threads {
            let slot = Arc::new(Slot::new());
            let (its_slot, its_shared) = (Arc::clone(&slot), Arc::clone(shared));
            pool.accepting.fetch_add(1, Ordering::Relaxed);
            match thread::Builder::new().stack_size(STACK).spawn(move || run(&its_shared, &its_slot)) {
                Ok(thread) => threads.push((slot, thread)),
                Err(error) => {
                    pool.leave_accept();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ends the threads: acceptors at once, those that serve after the answer under way, idle connections after a
    /// quiet moment. `true` if all had ended within `grace`.
    pub(crate) fn stop(&self, grace: Duration) -> bool {
        /// A request already on its way to an idle connection is still served.
        const QUIET: Duration = Duration::from_millis(250);
        /// An acceptor may be anywhere between looking at the stop flag and blocking: the signal is repeated.
        const RETRY: Duration = Duration::from_millis(2);
        let begun = Instant::now();
        loop {
            let threads = self.lock();
            let mut all_ended = true;
            for (slot, thread) in threads.iter().filter(|(_, thread)| !thread.is_finished()) {
                all_ended = false;
                if slot.is(State::Accepting) {
                    sys::interrupt(thread);
                } else if slot.is(State::Idle) && begun.elapsed() >= QUIET {
                    slot.shut_down_input();
                }
            }
            drop(threads);
            if all_ended || begun.elapsed() >= grace {
                return all_ended;
            }
            thread::sleep(RETRY);
        }
    }

    /// Counts a thread out of accept; `true` if it was the last.
    fn leave_accept(&self) -> bool {
        self.accepting.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Slot>, JoinHandle<()>)>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Makes the connection's next read give what is queued, then the end of the input.
    fn shut_down_input(&self) {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*socket {
            // A peer that is gone already is none to wait for.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

/// The life of a serving thread.
fn run(shared: &Arc<Shared>, slot: &Slot) {
    let mut buffers = Buffers::new();
    while !shared.is_stopping() {
        let Some((socket, peer)) = accept(shared) else { continue };
        slot.set(State::Idle);
        if shared.pool.leave_accept() {
            if let Err(error) = Pool::grow(shared) {
                log::error!("cannot start another thread: {error}");
            }
        }
        *slot.socket.write().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        if let Some(socket) = &*slot.socket.read().unwrap_or_else(PoisonError::into_inner) {
            connection::serve(shared, slot, socket, &peer, &mut buffers);
        }
        *slot.socket.write().unwrap_or_else(PoisonError::into_inner) = None;
        slot.set(State::Accepting);
        shared.pool.accepting.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for a connection. `None` after an error that passes, or a signal that wants the thread to look up.
fn accept(shared: &Shared) -> Option<(Socket, Peer)> {
    match shared.listener.accept() {
        Ok((socket, address)) => Some((socket, Peer::new(address))),
        Err(error) => {
            match error.kind() {
                ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                _ => {
                    log::error!("cannot accept connections: {error}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
            None
        }
    }
}
