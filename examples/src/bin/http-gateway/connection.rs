//! One HTTP connection, request after request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http_net::{HttpDate, Limits, Progress, ServerConn, ServerEvent};
use rustix::time::{ClockId, clock_gettime};

use super::Gateway;
use super::exchange::Exchange;
use super::failure::Failure;
use super::params::Params;

/// How long a connection may be silent between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long a request's head may take to come.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How much is read, and for how long, of a request that was answered before it came whole.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Serves a connection until it ends.
pub(super) fn serve(stream: TcpStream, gateway: &Gateway) {
    // What fails here fails since the client is gone already.
    let _ = Connection::new(&stream, gateway).and_then(Connection::serve);
}

struct Connection<'c> {
    gateway: &'c Gateway,
    stream: &'c TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    http: ServerConn,
}

impl<'c> Connection<'c> {
    fn new(stream: &'c TcpStream, gateway: &'c Gateway) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(gateway.patience))?;
        // A body is passed on as it comes, so its length is no matter of ours.
        let http = ServerConn::with_limits(Limits::new().with_max_body(u64::MAX));
        Ok(Self { gateway, stream, local: stream.local_addr()?, remote: stream.peer_addr()?, http })
    }

    fn serve(mut self) -> io::Result<()> {
        while self.next_request()? {
            if !self.gateway.has_room() {
                self.http.set_keep_alive(false);
            }
            if let Err(failure) = self.exchange() {
                self.fail(&failure)?;
                break;
            }
        }
        self.linger()
    }

    /// Waits for the head of the next request; `false` at the end of the connection.
    fn next_request(&mut self) -> io::Result<bool> {
        let is_first = self.http.requests_served() == 0;
        let mut deadline = Instant::now() + if is_first { HEAD_TIME } else { KEEP_ALIVE };
        loop {
            match self.http.poll() {
                Ok(ServerEvent::Request(_)) => return Ok(true),
                Ok(ServerEvent::NeedInput) => {}
                Ok(_) => return Ok(false),
                Err(error) => {
                    self.fail(&error.into())?;
                    return Ok(false);
                }
            }
            let was_idle = self.http.progress() == Progress::Idle;
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.read(self.http.read_buf())? {
                0 => self.http.feed_eof(),
                n => self.http.commit(n),
            }
            if was_idle {
                deadline = Instant::now() + HEAD_TIME;
            }
        }
    }

    /// Takes the request to the application and the answer back.
    fn exchange(&mut self) -> Result<(), Failure> {
        let head = self.http.request().ok_or(Failure::ClientGone)?;
        if head.has_unknown_expectation() {
            return Err(Failure::Client(417, "nothing but 100-continue may be expected"));
        }
        let mut params = Params::of(&head, self.local, self.remote)?;
        for (name, value) in &self.gateway.params {
            params.set(name, value.clone());
        }
        let application = self.gateway.application.connect(self.gateway.patience)?;
        Exchange::new(self.stream, &mut self.http, application, &params.encode(), self.gateway.patience).run()
    }

    /// Says what went wrong, to the client if no answer has begun; if one has, its end is missing, which also says it.
    fn fail(&mut self, failure: &Failure) -> io::Result<()> {
        if let Some(line) = failure.log_line() {
            let target = self.http.request().map_or("", |head| head.target());
            eprintln!("http-gateway: {}: {line}", target.escape_debug());
        }
        let mut out = Vec::new();
        if let Some(response) = failure.response() {
            if self.http.respond_with_date(&response, &now(), &mut out).is_ok() {
                self.stream.write_all(&out)?;
            }
        }
        Ok(())
    }

    /// Ends the connection so that the answer arrives: what the client still sends is read and thrown away for a while,
    /// since closing a socket with unread bytes destroys what is on its way to the other side.
    fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LINGER_TIME;
        let mut buffer = [0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let time = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
            match self.stream.read(&mut buffer)? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }
}

/// The `Date` of an answer. On 32 bits std panics after January 2038, and an old kernel has the time wrapped around.
pub(super) fn now() -> HttpDate {
    let seconds = clock_gettime(ClockId::Realtime).tv_sec;
    HttpDate::from_unix_seconds(seconds.try_into().unwrap_or(u64::from(seconds as u32)))
}
