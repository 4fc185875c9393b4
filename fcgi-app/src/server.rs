use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, mem};

use signal_hook::consts::{SIGTERM, SIGUSR1};
use socket2::Socket;

use crate::app::App;
use crate::housekeeper::{End, Housekeeper, Waker};
use crate::peer::AllowedPeers;
use crate::pool::Pool;
use crate::{Limits, Listener, Roles, environment, report, sys};

/// A FastCGI application: a listener, handlers, and limits.
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
    multiplex: bool,
    half_close: bool,
    stop_on_signals: bool,
    woken: UnixStream,
    waker: Waker,
}

/// Ends a [`Server`] from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Waker);

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) app: App,
    pub(crate) listener: Listener,
    pub(crate) allowed_peers: AllowedPeers,
    pub(crate) pool: Pool,
    pub(crate) waker: Waker,
    /// Whether the housekeeper sleeps until somebody wakes it.
    pub(crate) asleep: AtomicBool,
    lingering: Mutex<Vec<Socket>>,
    failure: Mutex<Option<io::Error>>,
}

impl Shared {
    /// Wakes the housekeeper if it sleeps, which it does only while nobody is served.
    pub(crate) fn rouse_housekeeper(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.look();
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
        self.app.stop();
        self.waker.look();
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
        Ok(Self {
            listener,
            limits: Limits::default(),
            multiplex: false,
            half_close: false,
            stop_on_signals: false,
            woken,
            waker,
        })
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets requests of a connection run side by side (specification sections 3.3 and 4.1). Off by default.
    ///
    /// Of the web servers, HAProxy can make use of it, with `option get-values` and `option mpxs-conns`; all others send
    /// one request at a time, which then costs a little more. Each request is handled by a thread of its own, up to 64 on
    /// a connection (`FCGI_MAX_REQS`; others are refused with `FCGI_OVERLOADED`), and up to [`Limits::connections`], at
    /// least 64, in all (others are answered 503). Answers go out a record in turns. An abort is seen while the handler
    /// is at work: its next read or write fails, and [`Response::wait`](crate::Response::wait) ends.
    ///
    /// Up to 64 KiB of a body wait for its handler; then nothing of the connection is read until the handler reads on or
    /// returns, since the protocol has no means to hold a single request back. All of it comes from
    /// [`Limits::budget`], of which the params of a connection take at most 4 MiB.
    ///
    /// Without it, a second request on a connection that has one under way is refused with `FCGI_CANT_MPX_CONN`.
    #[must_use]
    pub fn multiplex(mut self, on: bool) -> Self {
        self.multiplex = on;
        self
    }

    /// Takes the end of a peer's sending over TCP for no more than that, not for a connection that was closed:
    /// [`wait`](crate::Response::wait) and `is_wanted` then notice only a reset. No web server needs this. Off by default.
    /// Unix sockets tell the two apart.
    #[must_use]
    pub fn half_close(mut self, on: bool) -> Self {
        self.half_close = on;
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

    /// Serves requests with the handlers of `roles`, often just a [`Responder`](crate::Responder), until the server is
    /// stopped.
    ///
    /// A stop lets requests under way end, for up to [`Limits::stop_timeout`], and closes kept connections after their
    /// answer or, when nothing is on its way to them, after a quarter of a second. A connection on which requests run
    /// side by side may have one under way all the time: in the second half of that time new ones are answered
    /// 503. A second stop more than three seconds after the first waits for nothing. What still runs then is broken off, and
    /// this returns `Ok`; the threads of handlers end with the process.
    ///
    /// The environment variable `FCGI_STOP_TIMEOUT` takes precedence over [`Limits::stop_timeout`]: a whole number with a
    /// unit (`1500ms`, `10s`, `1m`; seconds without one), at most a day. mod_fastcgi kills what has not ended within 2 s.
    ///
    /// A supervisor that has named a descriptor in the environment variable `FCGI_SPAWN_REPORT`, as fcgi-spawn does,
    /// gets a byte when connections are accepted.
    ///
    /// If the value ends in `,heartbeat`, as with `fcgi-spawn --heartbeat`, it gets a byte a second while there are
    /// connections and no handler takes longer than [`Limits::handler_time`]. When that stops the supervisor ends the
    /// process; the other requests are served until it does.
    ///
    /// Only peers listed in the environment variable `FCGI_WEB_SERVER_ADDRS` may connect, if it is set (specification
    /// section 3.2); others are closed unread.
    ///
    /// # Errors
    /// When `FCGI_STOP_TIMEOUT` is no time, when signals cannot be set up or the first thread cannot be started, when the
    /// listener fails for good, and when a handler takes longer than [`Limits::handler_time`] and no supervisor listens for
    /// a heartbeat. Nothing a peer does ends the server, and no shortage of descriptors, memory or threads.
    pub fn serve(self, roles: impl Into<Roles>) -> io::Result<()> {
        sys::install_interrupt()?;
        if self.stop_on_signals {
            self.waker.stop_on(SIGTERM)?;
            self.waker.stop_on(SIGUSR1)?;
        }
        let (ready, heartbeat) = report::take();
        let mut limits = self.limits;
        limits.stop_timeout = environment::stop_timeout()?.unwrap_or(limits.stop_timeout);
        let allowed = env::var_os("FCGI_WEB_SERVER_ADDRS").map(|list| list.to_string_lossy().into_owned());
        let mut app = App::new(roles.into(), limits);
        app.half_close = self.half_close;
        let shared = Arc::new(Shared {
            app: if self.multiplex { app.multiplexed() } else { app },
            listener: self.listener,
            allowed_peers: AllowedPeers::parse(allowed.as_deref()),
            pool: Pool::new(limits.connections),
            waker: self.waker,
            asleep: AtomicBool::new(false),
            lingering: Mutex::new(Vec::new()),
            failure: Mutex::new(None),
        });
        Pool::grow(&shared)?;
        if let Some(ready) = ready {
            ready.say();
        }
        let mut housekeeper = Housekeeper::new(Arc::clone(&shared), self.woken, heartbeat);
        let end = housekeeper.run()?;
        shared.app.stop();
        if let End::HandlerTime = end {
            shared.pool.for_each(|slot| slot.break_off());
            shared.listener.remove_file();
            return Err(io::Error::new(io::ErrorKind::TimedOut, "a handler took longer than Limits::handler_time"));
        }
        let all_ended = housekeeper.stop(limits.stop_timeout);
        // Threads that have not ended still hold the listener.
        shared.listener.remove_file();
        if !all_ended && shared.pool.is_at_work() {
            shared.pool.for_each(|slot| slot.break_off());
            log::warn!("requests were still under way at the end of the stop, left unfinished");
        }
        let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

impl StopHandle {
    /// Stops the server, at once or as soon as it serves. A second call more than three seconds after the first ends the
    /// wait for requests under way.
    pub fn stop(&self) {
        self.0.stop();
    }
}
