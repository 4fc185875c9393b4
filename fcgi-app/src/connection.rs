//! The life of a connection, from accept to close.
//!
//! Requests come one after the other. Of each, the params are read whole, then the handler runs, reading the body and
//! writing the answer through the same socket; what it leaves unread is skipped by the session.

use std::io;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fcgi_proto::{EndRequest, Event, Limit, ProtocolError, ProtocolStatus, Reply, Role, Session};
use log::Level;
use socket2::Socket;

use crate::budget::Exhausted;
use crate::clock::Deadline;
use crate::input::Input;
use crate::peer::Peer;
use crate::server::Shared;
use crate::slot::{Slot, State};
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
pub(crate) enum Fault {
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

/// How a connection that was served is to be closed.
pub(crate) enum Close {
    /// At once: all that was sent was read, or nobody cares.
    AtOnce,
    /// After its peer has stopped sending: closing it at once would reset it, and the reset can overtake the answer.
    Linger,
}

/// A request whose params are coming, or complete.
#[derive(Clone, Copy)]
struct Accepted {
    id: u16,
    /// When its params have to be complete.
    params_by: Deadline,
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

/// Serves a connection until it ends.
pub(crate) fn serve(shared: &Shared, slot: &Slot, socket: &Socket, peer: &Peer, buffers: &mut Buffers) -> Close {
    let mut connection = Connection {
        shared,
        slot,
        wire: Wire::new(socket, slot, &shared.clock, &shared.limits),
        session: Session::new(shared.config),
        input: Input::new(&mut buffers.input, &shared.budget),
        output: &mut buffers.output,
        input_complete: true,
    };
    match connection.run() {
        Ok(()) if connection.is_all_read() => Close::AtOnce,
        Ok(()) if socket.shutdown(Shutdown::Write).is_ok() => Close::Linger,
        Ok(()) => Close::AtOnce,
        Err(fault) => {
            shared.log_fault(peer, &fault);
            Close::AtOnce
        }
    }
}

impl Connection<'_> {
    /// Whether the peer has nothing more to send that we know of.
    fn is_all_read(&self) -> bool {
        self.input_complete && self.input.unread().is_empty() && self.session.end_of_input().is_ok()
    }

    fn run(&mut self) -> Result<(), Fault> {
        while let Some(request) = self.accept_request()? {
            self.answer(&request)?;
            self.session.end(request.id);
            self.shared.count_request();
            if self.session.is_over() || self.shared.is_stopping() {
                break;
            }
        }
        Ok(())
    }

    /// Reads until the params of a request are complete; `None` when the connection ends without one.
    fn accept_request(&mut self) -> Result<Option<Accepted>, Fault> {
        self.input.clear_params();
        self.slot.set_idle(self.shared.clock.now());
        let mut begun: Option<Accepted> = None;
        let mut left = self.input.unread().len();
        loop {
            self.input.used_but(left);
            let mut rest = self.input.unread();
            let event = self.session.next(&mut rest)?;
            left = rest.len();
            match event {
                Some(Event::Begin { id, role: Role::Responder, .. }) => {
                    self.slot.set(State::Busy(Deadline::NEVER));
                    // Nothing of a request that was aborted or refused may be seen by this one.
                    self.input.clear_params();
                    self.wire.set_aborted(false);
                    self.input_complete = false;
                    let params_by = self.shared.clock.deadline(self.shared.limits.params_time);
                    begun = Some(Accepted { id, params_by });
                }
                Some(Event::Begin { id, role: Role::Authorizer | Role::Filter, .. }) => {
                    self.input_complete = false;
                    self.end(id, 0, ProtocolStatus::UnknownRole)?;
                }
                Some(Event::Params { id, content }) => {
                    let len = content.len();
                    self.input.used_but(left);
                    if let Err(Exhausted) = self.input.keep_params(len) {
                        self.refuse(id, 503, "no memory is left for its params")?;
                    }
                }
                Some(Event::ParamsEnd { id }) => {
                    self.input.used_but(left);
                    match self.input.settle_params() {
                        Ok(()) => return Ok(begun),
                        Err(Exhausted) => self.refuse(id, 503, "no memory is left for its params")?,
                    }
                }
                Some(Event::Oversized { id, limit }) => self.refuse(id, 431, limit_name(limit))?,
                Some(Event::Abort { id }) => {
                    self.input.clear_params();
                    self.end(id, 1, ProtocolStatus::RequestComplete)?;
                }
                Some(Event::Reply(reply)) => {
                    // The records of a request that was refused are still to come.
                    self.input_complete &= !matches!(reply, Reply::Refuse { .. });
                    self.wire.write(reply.encode(&mut [0; Reply::MAX_LEN]))?;
                }
                Some(Event::Skipped { header }) => {
                    log::debug!("{} of request {} has no meaning here, skipped", header.kind, header.id);
                }
                // Bodies are read by the handler; what it left is skipped by the session.
                Some(Event::Stdin { .. } | Event::StdinEnd { .. } | Event::Data { .. } | Event::DataEnd { .. }) => {}
                None => {
                    self.input.used_but(left);
                    match self.read(begun)? {
                        0 => return self.session.end_of_input().map(|()| None).map_err(Fault::from),
                        read => left = read,
                    }
                }
            }
            if self.session.is_over() {
                self.input.used_but(left);
                return Ok(None);
            }
        }
    }

    /// Reads more of a request's params, or of whatever comes while there is none.
    fn read(&mut self, begun: Option<Accepted>) -> Result<usize, Fault> {
        let active = begun.filter(|request| self.session.is_active(request.id));
        let Ok(room) = self.input.room() else {
            // Only params that outgrow the buffer need memory.
            if let Some(request) = active {
                self.refuse(request.id, 503, "no memory is left for its params")?;
            }
            self.input.clear_params();
            return self.read(None);
        };
        let read = match active {
            Some(request) => self.wire.read_until(request.params_by, room)?,
            None => {
                self.slot.set_idle(self.shared.clock.now());
                match self.wire.read_idle(room)? {
                    // On TCP a request may have arrived just before the stop ended our input: one more look finds it.
                    0 if self.shared.is_stopping() => self.wire.read_idle(room)?,
                    read => read,
                }
            }
        };
        self.input.filled(read);
        Ok(read)
    }

    /// Runs the handler for a request and sends its answer.
    fn answer(&mut self, accepted: &Accepted) -> Result<(), Fault> {
        let (params, rest) = self.input.part();
        let request = Request::new(params);
        let mut response = Response::new(&self.wire, accepted.id, self.output, request.method() == "HEAD");
        let mut body = Body::new(&self.wire, &mut self.session, rest, accepted.id, request.content_length());
        let handler = || self.shared.responder.respond(&request, &mut body, &mut response);
        if let Some(limit) = self.shared.limits.handler_time {
            self.slot.set_handler(self.shared.clock.deadline(limit));
        }
        let outcome = catch_unwind(AssertUnwindSafe(handler));
        self.slot.set_handler(Deadline::NEVER);
        let input = body.finish();
        let failure = match outcome {
            Ok(Ok(())) => response.misuse().map(|misuse| (1, misuse.to_owned())),
            Ok(Err(error)) => Some((1, error.to_string())),
            // The panic hook has already said where and why.
            Err(_) => Some((101, "the handler panicked".to_owned())),
        };
        if let Some((app_status, why)) = failure {
            // That a peer went away is no fault of the handler, and nothing to wake anybody for.
            let level = if self.wire.is_wanted() { Level::Error } else { Level::Debug };
            let (method, path) = (request.method().escape_debug(), request.path());
            log::log!(level, "{method} {}: {}", path.escape_debug(), why.escape_debug());
            response.app_status(app_status).replace(500);
        }
        let sent = response.finish();
        self.input.rejoin(input.extent);
        self.input_complete = input.complete && !input.refused;
        match input.broken {
            Some(error) => Err(error.into()),
            None => Ok(sent?),
        }
    }

    /// Answers a request that no handler can take: a real answer, since servers take a bare refusal for success.
    fn refuse(&mut self, id: u16, status: u16, why: &str) -> Result<(), Fault> {
        if self.shared.clock.may_log() {
            log::warn!("request {id} is answered {status}: {why}");
        }
        self.input.clear_params();
        let mut response = Response::new(&self.wire, id, self.output, false);
        response.replace(status);
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

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::ParamsLen => "its params are longer than allowed",
        Limit::Pairs => "it has more params than allowed",
    }
}
