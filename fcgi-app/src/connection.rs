//! The life of a connection, from accept to close.
//!
//! Requests come one after the other. Of each, the params are read whole, then the handler runs, reading the body and
//! writing the answer through the same stream; what it leaves unread is skipped by the session.

use std::io;

use fcgi_proto::{EndRequest, Event, Params, ProtocolError, ProtocolStatus, Reply, Role, Session};

use crate::app::App;
use crate::budget::Exhausted;
use crate::clock::Deadline;
use crate::exchange::{Answered, Refusal, run_handler};
use crate::input::Input;
use crate::request::Framing;
use crate::roles::Handler;
use crate::slot::{Slot, State};
use crate::source::{Complete, Direct, Finished, Source};
use crate::wire::{Ended, Stream, Wire};
use crate::{Request, Response};

/// Memory a thread lends to the connection it serves, and uses again for the next.
pub(crate) struct Buffers {
    input: [u8; 4096],
    output: Vec<u8>,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { input: [0; 4096], output: Vec::new() }
    }

    /// Room for what is read, and for an answer.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut Vec<u8>) {
        (&mut self.input, &mut self.output)
    }
}

/// Why a connection ends before its time.
pub(crate) enum Fault {
    /// The peer broke the protocol, or went away inside a record.
    Protocol(ProtocolError),
    /// The stream failed.
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
    /// It is another's to close.
    GivenAway,
}

/// A request whose params are coming, or complete.
#[derive(Clone, Copy)]
struct Accepted<'c> {
    id: u16,
    handler: Handler<'c>,
    /// Known once its params are complete.
    framing: Framing,
    /// When they have to be.
    params_by: Deadline,
}

struct Connection<'c> {
    app: &'c App,
    slot: &'c Slot,
    wire: Wire<'c>,
    session: Session,
    input: Input<'c, 'c>,
    output: &'c mut Vec<u8>,
    /// Whether all input so far belonged to requests that were read to their end.
    input_complete: bool,
}

/// Has a request handled whose body is still to come, or some of it.
#[inline(never)] // What that takes of a stack stays resident, and most requests have no body.
fn handle_with_body(
    handle: &mut dyn FnMut(Params<'_>, &mut dyn Source) -> Option<Answered>,
    wire: &Wire<'_>,
    session: &mut Session,
    input: &mut Input<'_, '_>,
    id: u16,
) -> (Option<Answered>, Finished) {
    let (params, rest) = input.part();
    let mut source = Direct::new(wire, session, rest, id);
    let failure = handle(params, &mut source);
    // Before its peer knows that it is answered, what it took of the budget is there again.
    let (finished, rest) = source.finish();
    input.rejoin(rest);
    (failure, finished)
}

/// Serves a connection until it ends.
pub(crate) fn serve(app: &App, slot: &Slot, stream: &dyn Stream, buffers: &mut Buffers) -> Result<Close, Fault> {
    let mut connection = Connection {
        app,
        slot,
        wire: Wire::new(stream, slot, app),
        session: Session::new(app.config),
        input: Input::new(&mut buffers.input, &app.budget),
        output: &mut buffers.output,
        input_complete: true,
    };
    connection.run()?;
    Ok(match connection.wire.is_detached() {
        true => Close::GivenAway,
        false if connection.is_all_read() => Close::AtOnce,
        false => Close::Linger,
    })
}

impl<'c> Connection<'c> {
    /// Whether the peer has nothing more to send that we know of.
    fn is_all_read(&self) -> bool {
        self.input_complete && self.input.unread().is_empty() && self.session.end_of_input().is_ok()
    }

    /// Whether the server is stopping, and no other request has come: closing the connection would reset it, and the
    /// request would be lost.
    fn is_to_close(&self) -> bool {
        let has_more = || !self.input.unread().is_empty() || self.wire.is_queued();
        self.app.is_stopping() && !(self.app.may_begin() && has_more())
    }

    fn run(&mut self) -> Result<(), Fault> {
        while let Some(request) = self.accept_request()? {
            let ended = self.answer(&request)?;
            self.session.end(request.id);
            self.app.count_request();
            if ended != Ended::Orderly || self.session.is_over() || self.is_to_close() {
                break;
            }
        }
        Ok(())
    }

    /// Reads until the params of a request are complete; `None` when the connection ends without one.
    fn accept_request(&mut self) -> Result<Option<Accepted<'c>>, Fault> {
        self.input.clear_params();
        let mut begun: Option<Accepted<'c>> = None;
        loop {
            if self.input.unread().is_empty() {
                match self.input.make_room() {
                    Ok(()) if self.read(begun.as_ref())? == 0 => {
                        return self.session.end_of_input().map(|()| None).map_err(Fault::from);
                    }
                    Ok(()) => {}
                    // Only params that outgrow the buffer need memory.
                    Err(Exhausted) => self.refuse(begun.take(), &Refusal::NoMemory)?,
                }
            }
            let mut rest = self.input.unread();
            // Nearly all requests come in one piece.
            let mut framing = Framing::default();
            if let Some(opening) = self.session.next_request(&mut rest, |param| framing.note(param)) {
                let left = rest.len();
                self.input.open(opening.params, left);
                begun = self.begin(opening.id, opening.role)?.map(|request| Accepted { framing, ..request });
                let has_body = !self.session.input_complete(opening.id);
                match if has_body { self.input.settle_params() } else { Ok(()) } {
                    Ok(()) if begun.is_some() => return Ok(begun),
                    Ok(()) => self.input.clear_params(),
                    Err(Exhausted) => self.refuse(begun.take(), &Refusal::NoMemory)?,
                }
                if self.session.is_over() {
                    return Ok(None);
                }
                continue;
            }
            let event = self.session.next(&mut rest)?;
            let left = rest.len();
            match event {
                Some(Event::Begin { id, role, .. }) => {
                    self.input.used_but(left);
                    begun = self.begin(id, role)?;
                    if begun.is_some() {
                        continue;
                    }
                }
                Some(Event::Params { content, .. }) => {
                    let len = content.len();
                    self.input.used_but(left);
                    if self.input.keep_params(len).is_ok() {
                        continue;
                    }
                    self.refuse(begun.take(), &Refusal::NoMemory)?;
                }
                Some(Event::ParamsEnd { .. }) => {
                    self.input.used_but(left);
                    if self.input.settle_params().is_ok() {
                        let framing = Framing::of(self.input.params());
                        return Ok(begun.map(|request| Accepted { framing, ..request }));
                    }
                    self.refuse(begun.take(), &Refusal::NoMemory)?;
                }
                Some(Event::Oversized { limit, .. }) => {
                    self.input.used_but(left);
                    self.refuse(begun.take(), &Refusal::Oversized(limit))?;
                }
                Some(Event::Abort { id }) => {
                    self.input.used_but(left);
                    begun = None;
                    self.input.clear_params();
                    self.end(id, 1, ProtocolStatus::RequestComplete)?;
                }
                Some(Event::Reply(reply)) => {
                    self.input.used_but(left);
                    // The records of a request that was refused are still to come.
                    self.input_complete &= !matches!(reply, Reply::Refuse { .. });
                    self.wire.reply(&reply)?;
                }
                Some(Event::Skipped { header }) => {
                    self.input.used_but(left);
                    self.wire.log_skipped(header);
                }
                // Bodies are read by the handler; what it left is skipped by the session.
                Some(Event::Stdin { .. } | Event::StdinEnd { .. } | Event::Data { .. } | Event::DataEnd { .. }) => {
                    self.input.used_but(left);
                }
                None => self.input.used_but(left),
            }
            if self.session.is_over() {
                return Ok(None);
            }
        }
    }

    /// Begins a request, if there is a handler for its role.
    fn begin(&mut self, id: u16, role: Role) -> Result<Option<Accepted<'c>>, Fault> {
        self.slot.set(State::Busy(Deadline::NEVER));
        self.input_complete = false;
        let Some(handler) = self.app.roles.handler(role) else {
            self.end(id, 0, ProtocolStatus::UnknownRole)?;
            return Ok(None);
        };
        self.wire.set_aborted(false);
        self.wire.set_may_answer(role != Role::Filter);
        let params_by = self.app.clock.deadline(self.app.limits.params_time);
        Ok(Some(Accepted { id, handler, framing: Framing::default(), params_by }))
    }

    /// Reads more of a request's params, or of whatever comes while there is none; 0 is the end of the input.
    fn read(&mut self, begun: Option<&Accepted<'c>>) -> Result<usize, Fault> {
        let room = self.input.room();
        let read = match begun {
            Some(request) => self.wire.read_params(request.params_by, room)?,
            None => {
                self.slot.set_idle(self.app.idle_until());
                match self.wire.read_idle(room)? {
                    // On TCP a request may have arrived just before the stop ended our input: one more look finds it.
                    0 if self.app.is_stopping() => self.wire.read_idle(room)?,
                    read => read,
                }
            }
        };
        self.input.filled(read);
        Ok(read)
    }

    /// Runs the handler for a request and sends its answer.
    fn answer(&mut self, accepted: &Accepted<'c>) -> Result<Ended, Fault> {
        let Accepted { id, handler, framing, .. } = *accepted;
        let (app, slot) = (self.app, self.slot);
        let mut response = Response::new(&self.wire, id, self.output, framing.is_head());
        let mut handle = |params: Params<'_>, source: &mut dyn Source| {
            if let Some(limit) = app.limits.handler_time {
                slot.set_handler(app.clock.deadline(limit));
            }
            let request = Request::framed(params, framing);
            let failure = run_handler(app, handler, &request, source, &mut response).err();
            slot.set_handler(Deadline::NEVER);
            failure
        };
        let (failure, input) = if self.session.input_complete(id) {
            let mut source = Complete::new(&self.wire, &self.session, &self.input, id);
            (handle(self.input.params(), &mut source), Finished::COMPLETE)
        } else {
            handle_with_body(&mut handle, &self.wire, &mut self.session, &mut self.input, id)
        };
        self.input_complete = input.complete && !input.refused;
        let sent = response.end();
        if let Some(failure) = failure {
            failure.log(app);
        }
        match input.broken {
            Some(error) => Err(error.into()),
            None => Ok(sent?),
        }
    }

    /// Answers a request that no handler can take.
    #[cold] // and so off the stack of the others
    #[inline(never)]
    fn refuse(&mut self, begun: Option<Accepted<'c>>, why: &Refusal) -> Result<(), Fault> {
        let is_head = Framing::of(self.input.params()).is_head();
        self.input.clear_params();
        if let Some(Accepted { id, .. }) = begun {
            self.wire.set_may_answer(true);
            why.answer(self.app, &self.wire, id, is_head, self.output)?;
            self.session.end(id);
        }
        Ok(())
    }

    /// Ends a request that no handler sees.
    #[cold]
    #[inline(never)]
    fn end(&mut self, id: u16, app_status: u32, protocol_status: ProtocolStatus) -> Result<(), Fault> {
        self.wire.write(&EndRequest { app_status, protocol_status }.record(id))?;
        self.session.end(id);
        Ok(())
    }
}
