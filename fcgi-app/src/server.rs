use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, mem};

use signal_hook::consts::{SIGTERM, SIGUSR1};
use socket2::Socket;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::connection::Fault;
use crate::housekeeper::{End, Housekeeper, Waker};
use crate::peer::{AllowedPeers, Peer};
use crate::pool::Pool;
use crate::{Limits, Listener, Responder, sys};

/// A FastCGI application: a listener, a handler, and limits.
///
/// ```no_run
/// use fcgi_app::{Address, Body, Listener, Request, Response, Server};
/// use std::io::Write;
///
/// let listener = Listener::bind(&Address::Tcp("127.0.0.1:9000".into()))?;
/// let hello = |_: &Request, _: &mut Body, out: &mut Response| writeln!(out.content_type("text/plain"), "Hello");
/// Server::new(listener)?.stop_on_signals(true).serve(hello)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    limits: Limits,
    stop_on_signals: bool,
    woken: UnixStream,
    waker: Waker,
}

/// Ends a [`Server`] from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Waker);

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) listener: Listener,
    pub(crate) allowed_peers: AllowedPeers,
    pub(crate) responder: Box<dyn Responder>,
    pub(crate) limits: Limits,
    pub(crate) config: fcgi_proto::Config,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    pub(crate) waker: Waker,
    /// Whether the housekeeper sleeps until somebody wakes it.
    pub(crate) asleep: AtomicBool,
    /// Whether accepting failed for want of something, and that was said.
    pub(crate) short_of_descriptors: AtomicBool,
    stopping: AtomicBool,
    requests: AtomicU64,
    lingering: Mutex<Vec<Socket>>,
    failure: Mutex<Option<io::Error>>,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Wakes the housekeeper if it sleeps, which it does only while nobody is served.
    pub(crate) fn rouse_housekeeper(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.look();
        }
    }

    /// Counts a request that was answered; the last one allowed stops the server.
    pub(crate) fn count_request(&self) {
        if let Some(most) = self.limits.requests {
            if self.requests.fetch_add(1, Ordering::Relaxed) + 1 == most {
                self.waker.stop();
            }
        }
    }

    /// Hands a connection to the housekeeper, to be drained and closed.
    pub(crate) fn linger(&self, socket: Socket) {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        self.waker.look();
    }

    /// The connections handed over since the last time.
    pub(crate) fn to_linger(&self) -> Vec<Socket> {
        mem::take(&mut self.lingering.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the server with an error.
    pub(crate) fn fail(&self, error: io::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopping.store(true, Ordering::Release);
        self.waker.stop();
    }

    /// Says why a connection ended before its time, unless peers cause too many lines.
    pub(crate) fn log_fault(&self, peer: &Peer, fault: &Fault) {
        match fault {
            Fault::Protocol(error) if self.clock.may_log() => log::warn!("{peer}: {error}; connection closed"),
            Fault::Socket(error) if error.kind() == io::ErrorKind::TimedOut && self.clock.may_log() => {
                log::warn!("{peer}: {error}; connection closed");
            }
            Fault::Protocol(_) => {}
            Fault::Socket(error) => log::debug!("{peer}: {error}; connection closed"),
        }
    }
}

impl Server {
    /// A server on `listener` with default limits.
    ///
    /// # Errors
    /// Those of making a pair of sockets, which wake the server when it is to stop.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        let waker = Waker::new(waker)?;
        Ok(Self { listener, limits: Limits::default(), stop_on_signals: false, woken, waker })
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets SIGTERM and SIGUSR1 stop the server, as web servers and process managers expect. Off by default.
    #[must_use]
    pub fn stop_on_signals(mut self, on: bool) -> Self {
        self.stop_on_signals = on;
        self
    }

    /// A handle that stops the server.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.waker.clone())
    }

    /// Serves requests with `responder` until the server is stopped.
    ///
    /// A stop lets requests under way end, for up to [`Limits::grace`], and closes kept connections after their
    /// answer or, when nothing is on its way to them, after a quarter of a second. A second stop more than three
    /// seconds after the first waits for nothing.
    ///
    /// Only peers listed in the environment variable `FCGI_WEB_SERVER_ADDRS` may connect, if it is set (specification
    /// section 3.2); others are closed unread.
    ///
    /// # Errors
    /// When signals cannot be set up or the first thread cannot be started, when the listener fails for good, and when a
    /// handler takes longer than [`Limits::handler_time`]. Nothing a peer does ends the server, and no shortage of
    /// descriptors, memory or threads.
    pub fn serve(self, responder: impl Responder + 'static) -> io::Result<()> {
        sys::install_interrupt()?;
        if self.stop_on_signals {
            self.waker.stop_on(SIGTERM)?;
            self.waker.stop_on(SIGUSR1)?;
        }
        let limits = self.limits;
        let connections = u32::try_from(limits.connections).unwrap_or(u32::MAX).max(1);
        let allowed = env::var_os("FCGI_WEB_SERVER_ADDRS").map(|list| list.to_string_lossy().into_owned());
        let shared = Arc::new(Shared {
            listener: self.listener,
            allowed_peers: AllowedPeers::parse(allowed.as_deref()),
            responder: Box::new(responder),
            limits,
            config: fcgi_proto::Config {
                max_params_len: limits.params_len,
                max_pairs: limits.pairs,
                max_conns: connections,
                max_reqs: connections,
            },
            budget: Budget::new(limits.budget),
            clock: Clock::new(),
            pool: Pool::new(limits.connections),
            waker: self.waker,
            asleep: AtomicBool::new(false),
            short_of_descriptors: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            lingering: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
        });
        Pool::grow(&shared)?;
        let mut housekeeper = Housekeeper::new(Arc::clone(&shared), self.woken);
        let end = housekeeper.run()?;
        shared.stopping.store(true, Ordering::Release);
        if let End::HandlerTime = end {
            shared.listener.remove_file();
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a handler took longer than Limits::handler_time"));
        }
        let all_ended = housekeeper.stop(limits.grace);
        // Threads that have not ended still hold the listener.
        shared.listener.remove_file();
        if !all_ended {
            log::warn!("requests were still under way at the end of the stop, left unfinished");
        }
        let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

impl StopHandle {
    /// Stops the server; at once or as soon as it serves. Stopping twice changes nothing.
    pub fn stop(&self) {
        self.0.stop();
    }
}
