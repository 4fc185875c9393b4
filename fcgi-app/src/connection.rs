//! The life of a connection, from accept to close.
//!
//! Requests come one after the other. Of each, the params are read whole, then the handler runs, reading the body and
//! writing the answer through the same socket; what it leaves unread is skipped by the session.

use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fcgi_proto::{EndRequest, Event, Limit, ProtocolError, ProtocolStatus, Reply, Role, Session};
use socket2::Socket;

use crate::input::Input;
use crate::pool::{Slot, State};
use crate::server::Shared;
use crate::wire::Wire;
use crate::{Body, Request, Response};

/// Memory a thread lends to the connection it serves, and uses again for the next.
pub(crate) struct Buffers {
    input: [u8; 8192],
    output: Vec<u8>,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { input: [0; 8192], output: Vec::new() }
    }
}

/// Why a connection ends before its time.
enum Fault {
    /// The peer broke the protocol, or went away inside a record.
    Protocol(ProtocolError),
    /// The socket failed.
    Socket(io::Error),
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// A request whose params are complete.
struct Accepted {
    id: u16,
    keep_conn: bool,
}

struct Connection<'c> {
    shared: &'c Shared,
    slot: &'c Slot,
    wire: Wire<'c>,
    session: Session,
    input: Input<'c>,
    output: &'c mut Vec<u8>,
    /// Whether all input so far belonged to requests that were read to their end.
    input_complete: bool,
}

/// Serves a connection until it ends; the caller closes it.
pub(crate) fn serve(
    shared: &Shared,
    slot: &Slot,
    socket: &Socket,
    peer: &dyn std::fmt::Display,
    buffers: &mut Buffers,
) {
    let mut connection = Connection {
        shared,
        slot,
        wire: Wire::new(socket),
        session: Session::new(shared.config),
        input: Input::new(&mut buffers.input),
        output: &mut buffers.output,
        input_complete: true,
    };
    match connection.run() {
        Ok(()) if connection.input_complete && connection.input.unread().is_empty() => {}
        Ok(()) => linger(socket),
        Err(Fault::Protocol(error)) => log::warn!("{peer}: {error}; connection closed"),
        Err(Fault::Socket(error)) => log::debug!("{peer}: {error}; connection closed"),
    }
}

impl Connection<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(request) = self.accept_request()? {
            self.answer(&request)?;
            self.session.end(request.id);
            if !request.keep_conn || self.shared.is_stopping() {
                break;
            }
        }
        Ok(())
    }

    /// Reads until the params of a request are complete; `None` when the connection ends without one.
    fn accept_request(&mut self) -> Result<Option<Accepted>, Fault> {
        self.input.clear_params();
        self.slot.set(State::Idle);
        let mut keep = true;
        loop {
            let mut rest = self.input.unread();
            let event = self.session.next(&mut rest)?;
            let left = rest.len();
            match event {
                Some(Event::Begin { id, role: Role::Responder, keep_conn }) => {
                    self.slot.set(State::Busy);
                    (self.input_complete, keep) = (false, keep_conn);
                    self.wire.set_aborted(false);
                    log::trace!("request {id} begins");
                    self.input.used_but(left);
                }
                Some(Event::Begin { id, role: Role::Authorizer | Role::Filter, .. }) => {
                    self.input.used_but(left);
                    self.end(id, 0, ProtocolStatus::UnknownRole)?;
                }
                Some(Event::Params { content, .. }) => {
                    let len = content.len();
                    self.input.used_but(left);
                    self.input.keep_params(len);
                }
                Some(Event::ParamsEnd { id }) => {
                    self.input.used_but(left);
                    return Ok(Some(Accepted { id, keep_conn: keep }));
                }
                Some(Event::Oversized { id, limit }) => {
                    self.input.used_but(left);
                    self.refuse(id, limit)?;
                }
                Some(Event::Abort { id }) => {
                    self.input.used_but(left);
                    self.end(id, 1, ProtocolStatus::RequestComplete)?;
                }
                Some(Event::Reply(reply)) => {
                    self.input.used_but(left);
                    self.wire.write(reply.encode(&mut [0; Reply::MAX_LEN]))?;
                }
                Some(Event::Skipped { header }) => {
                    self.input.used_but(left);
                    log::debug!("{} of request {} has no meaning here, skipped", header.kind, header.id);
                }
                // Bodies are read by the handler; what it left is skipped by the session.
                Some(Event::Stdin { .. } | Event::StdinEnd { .. } | Event::Data { .. } | Event::DataEnd { .. }) => {
                    self.input.used_but(left);
                }
                None => {
                    self.input.used_but(left);
                    if self.input.fill(&self.wire)? == 0 {
                        self.session.end_of_input()?;
                        return Ok(None);
                    }
                }
            }
            if self.session.is_over() {
                return Ok(None);
            }
        }
    }

    /// Runs the handler for a request and sends its answer.
    fn answer(&mut self, accepted: &Accepted) -> Result<(), Fault> {
        let (params, rest) = self.input.part();
        let request = Request::new(params);
        let mut response = Response::new(&self.wire, accepted.id, self.output, request.method() == "HEAD");
        let mut body = Body::new(&self.wire, &mut self.session, rest, accepted.id, request.content_length());
        let handler = || self.shared.responder.respond(&request, &mut body, &mut response);
        let outcome = catch_unwind(AssertUnwindSafe(handler));
        let input = body.finish();
        match outcome {
            Ok(Ok(())) => match response.misuse() {
                None => {}
                Some(misuse) => {
                    log::error!("{} {}: {misuse}", request.method(), request.path());
                    response.app_status(1).replace(500);
                }
            },
            Ok(Err(error)) => {
                log::error!("{} {}: {error}", request.method(), request.path());
                response.app_status(1).replace(500);
            }
            // The panic hook has already said where and why.
            Err(_) => {
                log::error!("{} {}: the handler panicked", request.method(), request.path());
                response.app_status(101).replace(500);
            }
        }
        let sent = response.finish();
        self.input.rejoin(input.extent);
        self.input_complete = input.complete;
        match input.broken {
            Some(error) => Err(error.into()),
            None => Ok(sent?),
        }
    }

    /// Answers a request whose params are over a limit: a real answer, since servers take a bare refusal for success.
    fn refuse(&mut self, id: u16, limit: Limit) -> Result<(), Fault> {
        log::warn!("request {id}: params over the limit ({limit:?}), answered 431");
        let mut response = Response::new(&self.wire, id, self.output, false);
        response.replace(431);
        response.finish()?;
        self.session.end(id);
        Ok(())
    }

    /// Ends a request that no handler sees.
    fn end(&mut self, id: u16, app_status: u32, protocol_status: ProtocolStatus) -> Result<(), Fault> {
        self.wire.write(&EndRequest { app_status, protocol_status }.record(id))?;
        self.session.end(id);
        Ok(())
    }
}

/// Ends a connection whose peer may still be sending: closing it at once would reset it, and the reset can overtake
/// the answer.
fn linger(socket: &Socket) {
    const TIME: Duration = Duration::from_secs(2);
    const BYTES: usize = 16 << 20;
    let deadline = Instant::now() + TIME;
    let mut drained = 0;
    let mut buffer = [0; 4096];
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    while drained < BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match io::Read::read(&mut &*socket, &mut buffer) {
            Ok(0) => return,
            Ok(read) => drained += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
