use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGTERM, SIGUSR1};

use crate::pool::Pool;
use crate::{Listener, Responder, sys};

/// What a server allows, and how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections served at once, each by a thread of its own. More wait in the listener's backlog. Default 256.
    pub connections: usize,
    /// How long a stop waits for requests under way. Default 5 s.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, grace: Duration::from_secs(5) }
    }
}

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
    wake: (UnixStream, StopHandle),
}

/// Ends a [`Server`] from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<UnixStream>);

/// What all threads of a server share.
pub(crate) struct Shared {
    pub(crate) listener: Listener,
    pub(crate) responder: Box<dyn Responder>,
    pub(crate) config: fcgi_proto::Config,
    pub(crate) pool: Pool,
    stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Server {
    /// A server on `listener` with default limits.
    ///
    /// # Errors
    /// Those of making a pair of sockets, which wake the server when it is to stop.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let (woken, waker) = UnixStream::pair()?;
        let wake = (woken, StopHandle(Arc::new(waker)));
        Ok(Self { listener, limits: Limits::default(), stop_on_signals: false, wake })
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
        self.wake.1.clone()
    }

    /// Serves requests with `responder` until the server is stopped.
    ///
    /// A stop lets requests under way end, for up to [`Limits::grace`], and closes kept connections after their
    /// answer or, when nothing is on its way to them, after a quarter of a second.
    ///
    /// # Errors
    /// When signals cannot be set up or the first thread cannot be started. Nothing a peer does ends the server.
    pub fn serve(self, responder: impl Responder + 'static) -> io::Result<()> {
        sys::install_interrupt()?;
        let (mut woken, StopHandle(waker)) = self.wake;
        if self.stop_on_signals {
            for signal in [SIGTERM, SIGUSR1] {
                signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
            }
        }
        let connections = u32::try_from(self.limits.connections).unwrap_or(u32::MAX).max(1);
        let config =
            fcgi_proto::Config { max_conns: connections, max_reqs: connections, ..fcgi_proto::Config::default() };
        let shared = Arc::new(Shared {
            listener: self.listener,
            responder: Box::new(responder),
            config,
            pool: Pool::new(self.limits.connections),
            stopping: AtomicBool::new(false),
        });
        Pool::grow(&shared)?;
        wait(&mut woken)?;
        shared.stopping.store(true, Ordering::Release);
        if !shared.pool.stop(self.limits.grace) {
            log::warn!("requests were still running {:?} after the stop, left unfinished", self.limits.grace);
        }
        Ok(())
    }
}

impl StopHandle {
    /// Stops the server; at once or as soon as it serves. Stopping twice changes nothing.
    pub fn stop(&self) {
        // The only error is that of a server that is gone, and so has stopped.
        let _ = (&*self.0).write(&[0]);
    }
}

fn wait(woken: &mut UnixStream) -> io::Result<()> {
    loop {
        match woken.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}
