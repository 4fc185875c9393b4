//! The life of a connection whose requests run side by side.
//!
//! The thread of the connection only reads it: it joins the params of requests and puts their bodies into queues. A
//! request whose params are complete is an [`Exchange`], answered by a handler thread; several send a record in turns.
//! Whatever both sides touch is in [`State`], under one lock. An id is free just before its END_REQUEST leaves, so that
//! the reader, which may be blocked in its read, knows it when the id comes back. The last answer of a connection that
//! is to be closed ends that read.

mod channel;
mod state;

use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use fcgi_proto::{EndRequest, Event, Header, Params, ProtocolError, ProtocolStatus, Reply, Role, Session};
use socket2::{Domain, Socket};

use self::channel::{Channel, Exchange};
use self::state::{Opening, State};
use crate::app::App;
use crate::budget::Bytes;
use crate::clock::Deadline;
use crate::connection::{Buffers, Close, Fault};
use crate::exchange::{Refusal, run_handler};
use crate::queue::{Queue, Queued};
use crate::request::Framing;
use crate::slot::{Slot, State as SlotState};
use crate::sys;
use crate::turns::{Turn, Turns};
use crate::wire::{BREAK, Ended, Output, Overdue, Stream, aborted};
use crate::{Request, Response};

/// Requests at once on a connection.
pub(crate) const REQUESTS: usize = 64;
/// Params of all requests under way on a connection, in encoded bytes.
const PARAMS: usize = 4 << 20;
/// Handler threads of a connection that may wait for another request, and for how long.
const SPARE: usize = 8;
const SPARE_TIME: Duration = Duration::from_secs(1);
/// How long a peer that still sends may take to notice that its connection is over.
const LINGER: Duration = Duration::from_secs(2);

struct Connection<'c> {
    app: &'c App,
    slot: &'c Slot,
    socket: &'c Socket,
    state: Mutex<State<'c>>,
    /// Wakes handler threads that wait for a request.
    ready: Condvar,
    turns: Turns,
    /// Whether the connection is lost, so that nothing more is sent.
    broken: AtomicBool,
}

/// Serves a connection until it ends.
#[inline(never)] // The session of so many requests is to be on no other stack.
pub(crate) fn serve(app: &App, slot: &Slot, socket: &Socket, buffers: &mut Buffers) -> Result<Close, Fault> {
    // One who is blocked here holds up the others: the kernel ends it.
    socket.set_write_timeout(Some(app.limits.write_time.max(Duration::from_millis(1))))?;
    let connection = Connection {
        app,
        slot,
        socket,
        state: Mutex::new(State::new(Session::new(app.config))),
        ready: Condvar::new(),
        turns: Turns::new(),
        broken: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        if let Err(fault) = connection.read_requests(scope, buffers) {
            connection.lose(fault);
        }
        let mut state = connection.lock();
        state.closed = true;
        if !state.detached.is_empty() {
            // Their handlers keep it open.
            let _ = socket.shutdown(Shutdown::Write);
        }
        connection.publish(&state);
        drop(state);
        connection.ready.notify_all();
    });
    let state = connection.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.fault {
        Some(fault) => Err(fault),
        None if state.is_all_read() && !state.closing => Ok(Close::AtOnce),
        None => Ok(Close::Linger),
    }
}

impl<'c> Connection<'c> {
    fn lock(&self) -> MutexGuard<'_, State<'c>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ------------------------------------------------------------------------------------------ the reader

    /// Reads until the connection ends or is to be closed.
    fn read_requests<'s>(&'s self, scope: &'s Scope<'s, '_>, buffers: &mut Buffers) -> Result<(), Fault> {
        let (input, output) = buffers.parts();
        let (mut skipped, mut stopped) = (false, false);
        while self.begin_read() {
            let read = Stream::read(self.socket, input);
            let closing = self.end_read();
            let mut rest = match read {
                Ok(_) if closing => continue,
                // On TCP a request may have arrived just before the stop ended our input: one more look finds it.
                Ok(0) if self.app.is_stopping() && !stopped => {
                    stopped = true;
                    continue;
                }
                Ok(0) => {
                    self.end_input()?;
                    self.watch();
                    return Ok(());
                }
                Ok(read) => &input[..read],
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.timed_out().unwrap_or(error).into()),
            };
            while let Some(event) = self.next(&mut rest)? {
                match event {
                    Event::Begin { id, role, .. } => self.begin(id, role, output)?,
                    Event::Params { id, content } => self.keep_params(id, content, output)?,
                    Event::ParamsEnd { id } => self.start(scope, id, output)?,
                    Event::Stdin { id, content } | Event::Data { id, content } => self.push(id, content),
                    Event::StdinEnd { id } => self.end_stdin(id),
                    Event::DataEnd { id } => self.with_exchange(id, |exchange, _| exchange.queue.end_data()),
                    Event::Abort { id } => self.abort(id)?,
                    Event::Oversized { id, limit } => self.refuse(id, &Refusal::Oversized(limit), output)?,
                    Event::Reply(reply) => self.reply(reply)?,
                    Event::Skipped { header } => self.log_skipped(header, &mut skipped),
                }
            }
        }
        Ok(())
    }

    /// Says that the reader goes into its read; `false` if the connection is to be closed instead.
    fn begin_read(&self) -> bool {
        let mut state = self.lock();
        if !state.closing && state.answered && self.is_to_close(&state) {
            self.end_output(&mut state);
        }
        if state.closing || state.session.is_over() || self.broken.load(Ordering::Acquire) {
            return false;
        }
        state.answered = false;
        state.reading = true;
        self.publish(&state);
        true
    }

    /// Whether the server is stopping, no request is under way, and none is queued.
    fn is_to_close(&self, state: &State<'c>) -> bool {
        let is_queued = || sys::peek(self.socket.as_fd(), &mut [0]).is_ok_and(|count| count > 0);
        self.app.is_stopping() && state.is_empty() && !is_queued()
    }

    /// Says that there are no more answers. What its peer sends before it knows that is discarded: a reset could overtake
    /// the last answer.
    fn end_output(&self, state: &mut State<'c>) {
        state.closing = true;
        let _ = self.socket.shutdown(Shutdown::Write);
        self.slot.set(SlotState::Busy(self.app.clock.deadline(LINGER)));
    }

    /// Says that the reader comes out of its read; `true` if it is to discard what it has.
    fn end_read(&self) -> bool {
        let mut state = self.lock();
        state.reading = false;
        if !state.is_empty() {
            self.publish(&state);
        }
        state.closing
    }

    /// Takes the next event from what was read; none when it is used up, or when the connection is to be closed.
    fn next<'i>(&self, rest: &mut &'i [u8]) -> Result<Option<Event<'i>>, ProtocolError> {
        let mut state = self.lock();
        if state.session.is_over() {
            state.input_complete &= rest.is_empty();
            return Ok(None);
        }
        state.session.next(rest)
    }

    /// The peer sends nothing more: requests that lack some of their input are lost, others are still answered.
    fn end_input(&self) -> Result<(), Fault> {
        let mut state = self.lock();
        // Its last response may still be on its way: the end of that ends the watch.
        state.ended = true;
        if state.session.is_over() {
            return Ok(());
        }
        if let Some(error) = self.timed_out() {
            return Err(error.into());
        }
        state.opening.clear();
        // A unix socket that was closed is hung up, which is found next.
        let is_gone = !self.may_read_on();
        for exchange in &state.running {
            if !state.session.input_complete(exchange.id) {
                exchange.lose();
            }
            exchange.gone.store(is_gone, Ordering::Release);
        }
        self.app.news.tell();
        if let Err(error) = state.session.end_of_input() {
            state.fault.get_or_insert(error.into());
        }
        Ok(())
    }

    /// Whether a peer that sends nothing more may still read: TCP says no more than that nothing comes.
    fn may_read_on(&self) -> bool {
        self.app.half_close
            || self.slot.is_input_ended()
            || self.socket.domain().is_ok_and(|domain| domain == Domain::UNIX)
    }

    /// Looks for a handler whether its peer is there, while the reader does not: it may be waiting for room in a queue.
    fn look(&self, exchange: &Exchange<'c>) {
        if self.lock().reading {
            return;
        }
        match sys::wait_for_peer(Some(self.socket.as_fd()), false, true, Some(Duration::ZERO)) {
            Ok(found) if found.hang_up => self.lose(io::Error::from(ErrorKind::ConnectionAborted).into()),
            Ok(found) if found.end_of_input && !self.may_read_on() => exchange.gone.store(true, Ordering::Release),
            Ok(_) | Err(_) => {}
        }
    }

    /// Waits until the peer, which sends nothing more, is known to be gone, or has all responses.
    fn watch(&self) {
        let has_more = |state: &State<'c>| !state.is_empty() && !self.broken.load(Ordering::Acquire);
        while has_more(&self.lock()) {
            match sys::wait_for_peer(Some(self.socket.as_fd()), false, false, None) {
                Ok(found) if !found.hang_up => {}
                // The last response ends it, too.
                _ if !has_more(&self.lock()) => return,
                Ok(_) => return self.lose(io::Error::from(ErrorKind::ConnectionAborted).into()),
                Err(_) => return,
            }
        }
    }

    /// Begins a request, if there is a handler for its role.
    fn begin(&self, id: u16, role: Role, output: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(handler) = self.app.roles.handler(role) else {
            return self.end(id, 0, ProtocolStatus::UnknownRole);
        };
        if !self.app.may_begin() {
            return self.refuse(id, &Refusal::Stopping, output);
        }
        let mut state = self.lock();
        let by = self.app.clock.deadline(self.app.limits.params_time);
        state.opening.push(Opening { id, role, handler, params: Bytes::new(&self.app.budget), by });
        self.publish(&state);
        Ok(())
    }

    fn keep_params(&self, id: u16, content: &[u8], output: &mut Vec<u8>) -> Result<(), Fault> {
        let mut state = self.lock();
        let fits = state.params_len() + content.len() <= PARAMS;
        let Some(opening) = state.opening.iter_mut().find(|opening| opening.id == id) else { return Ok(()) };
        if fits && opening.params.extend(content).is_ok() {
            return Ok(());
        }
        drop(state);
        self.refuse(id, &Refusal::NoMemory, output)
    }

    /// Hands a request whose params are complete to a handler thread.
    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>, id: u16, output: &mut Vec<u8>) -> Result<(), Fault> {
        let mut state = self.lock();
        let Some(opening) = state.take_opening(id) else { return Ok(()) };
        let Ok(queue) = Queue::new(&self.app.budget, state.session.input_complete(id)) else {
            drop(state);
            return self.refuse(id, &Refusal::NoMemory, output);
        };
        if !self.app.enter_handler() {
            drop(state);
            return self.refuse(id, &Refusal::NoThread, output);
        }
        let Opening { role, handler, params, .. } = opening;
        let overdue = self.app.limits.handler_time.map_or(Deadline::NEVER, |limit| self.app.clock.deadline(limit));
        let exchange = Arc::new(Exchange {
            id,
            role,
            handler,
            params_len: params.as_slice().len(),
            queue,
            may_answer: AtomicBool::new(role != Role::Filter),
            aborted: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            overdue: AtomicU32::new(overdue.0),
        });
        state.running.push(Arc::clone(&exchange));
        state.ready.push_back((Arc::clone(&exchange), params));
        self.publish(&state);
        self.publish_overdue(&state);
        if state.spare >= state.ready.len() {
            self.ready.notify_one();
            return Ok(());
        }
        drop(state);
        let stack = self.app.limits.stack;
        let spawn = || thread::Builder::new().stack_size(stack).spawn_scoped(scope, || self.handle_requests());
        let Err(error) = sys::check_room_for_thread(stack).and_then(|()| spawn()) else { return Ok(()) };
        log::error!("cannot start another thread: {error}");
        let mut state = self.lock();
        let Some(waiting) = state.ready.iter().position(|(waiting, _)| Arc::ptr_eq(waiting, &exchange)) else {
            return Ok(());
        };
        state.ready.remove(waiting);
        self.retire(&mut state, id);
        drop(state);
        self.refuse(id, &Refusal::NoThread, output)
    }

    fn push(&self, id: u16, content: &[u8]) {
        let exchange = self.lock().running.iter().find(|exchange| exchange.id == id).cloned();
        if exchange.is_some_and(|exchange| exchange.queue.push(content)) {
            // That nothing was read meanwhile is no fault of those whose params are coming.
            let by = self.app.clock.deadline(self.app.limits.params_time);
            self.lock().opening.iter_mut().for_each(|opening| opening.by = by);
        }
    }

    fn end_stdin(&self, id: u16) {
        self.with_exchange(id, |exchange, session| {
            exchange.may_answer.store(true, Ordering::Release);
            exchange.queue.end_stdin(session.input_complete(id));
        });
    }

    fn abort(&self, id: u16) -> Result<(), Fault> {
        if self.lock().take_opening(id).is_some() {
            return self.end(id, 1, ProtocolStatus::RequestComplete);
        }
        self.with_exchange(id, |exchange, _| {
            exchange.aborted.store(true, Ordering::Release);
            exchange.queue.abort();
        });
        self.app.news.tell();
        Ok(())
    }

    fn with_exchange(&self, id: u16, act: impl FnOnce(&Exchange<'c>, &Session<REQUESTS>)) {
        let state = self.lock();
        if let Some(exchange) = state.running.iter().find(|exchange| exchange.id == id) {
            act(exchange, &state.session);
        }
    }

    /// Answers a request that no handler can take.
    fn refuse(&self, id: u16, why: &Refusal, output: &mut Vec<u8>) -> Result<(), Fault> {
        let opening = self.lock().take_opening(id);
        let is_head = opening.is_some_and(|opening| Framing::of(Params::new(opening.params.as_slice())).is_head());
        Ok(why.answer(self.app, &Channel { connection: self, id, exchange: None }, id, is_head, output)?)
    }

    /// Ends a request that no handler sees.
    fn end(&self, id: u16, app_status: u32, protocol_status: ProtocolStatus) -> Result<(), Fault> {
        let record = EndRequest { app_status, protocol_status }.record(id);
        Ok(self.send(&mut [IoSlice::new(&record)], Some(id))?)
    }

    fn reply(&self, reply: Reply) -> Result<(), Fault> {
        if matches!(reply, Reply::Refuse { .. }) {
            // Its records are still to come.
            self.lock().input_complete = false;
        }
        Ok(self.send(&mut [IoSlice::new(reply.encode(&mut [0; Reply::MAX_LEN]))], None)?)
    }

    fn log_skipped(&self, header: Header, skipped: &mut bool) {
        if !std::mem::replace(skipped, true) && self.app.clock.may_log() {
            log::warn!("{} of request {} has no meaning where it came, skipped", header.kind, header.id);
        }
    }

    // ---------------------------------------------------------------------------------------- the handlers

    /// The life of a handler thread: it answers requests as long as there are some, and waits a moment for more.
    fn handle_requests(&self) {
        let (mut input, mut output) = ([0; 8192], Vec::new());
        let mut state = self.lock();
        loop {
            if let Some((exchange, params)) = state.ready.pop_front() {
                drop(state);
                self.answer(&exchange, params, &mut input, &mut output);
                self.settle(&exchange);
                state = self.lock();
                continue;
            }
            if state.closed || state.spare == SPARE {
                return;
            }
            state.spare += 1;
            let (woken, timeout) = self.ready.wait_timeout(state, SPARE_TIME).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.spare -= 1;
            if timeout.timed_out() && state.ready.is_empty() {
                return;
            }
        }
    }

    /// Runs the handler for a request and sends its answer.
    fn answer(&self, exchange: &Arc<Exchange<'c>>, params: Bytes<'c>, input: &mut [u8], output: &mut Vec<u8>) {
        let channel = Channel { connection: self, id: exchange.id, exchange: Some(exchange) };
        let request = Request::new(Params::new(params.as_slice()));
        let mut response = Response::new(&channel, exchange.id, output, request.is_head());
        let mut failure = None;
        if channel.may_send() {
            let is_filter = exchange.role == Role::Filter;
            let mut source = Queued::new(&exchange.queue, is_filter, self.app.limits.silence, input);
            failure = run_handler(self.app, exchange.handler, &request, &mut source, &mut response).err();
            if self.app.limits.handler_time.is_some() {
                exchange.overdue.store(Deadline::NEVER.0, Ordering::Relaxed);
                self.publish_overdue(&self.lock());
            }
            source.skip_stdin();
        } else {
            response.app_status(1);
        }
        // The memory is there again when the web server sends the next request.
        drop(params);
        exchange.queue.discard();
        // An error concerns the connection, which knows of it.
        let _ = response.end();
        if let Some(failure) = failure {
            failure.log(self.app);
        }
    }

    /// Says that a handler has returned, and its response was sent.
    fn settle(&self, exchange: &Exchange<'c>) {
        self.app.count_request();
        let mut state = self.lock();
        let detached = state.detached.iter().position(|detached| ptr::eq(&**detached, exchange));
        match detached {
            None => self.end_exchange(&mut state, exchange),
            Some(index) => {
                state.detached.swap_remove(index);
                self.app.leave_handler();
                self.publish_overdue(&state);
            }
        }
    }

    /// Goes on with the connection behind the end of a response whose handler works on.
    fn detach(&self, exchange: &Arc<Exchange<'c>>) {
        exchange.queue.discard();
        self.app.reenter_handler();
        let mut state = self.lock();
        state.detached.push(Arc::clone(exchange));
        if state.closed {
            // The reader did not know.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.publish_overdue(&state);
        self.end_exchange(&mut state, exchange);
    }

    /// Says that a response was sent, and closes the connection if it was the last.
    fn end_exchange(&self, state: &mut State<'c>, exchange: &Exchange<'c>) {
        if state.running.iter().any(|running| ptr::eq(&**running, exchange)) {
            // It was lost, so its end was not sent.
            state.end(exchange.id);
            self.retire(state, exchange.id);
        } else {
            state.ending -= 1;
        }
        state.answered = true;
        self.publish(state);
        let is_over = state.session.is_over() && state.is_empty();
        if state.reading && is_over && state.is_all_read() {
            let _ = self.socket.shutdown(Shutdown::Read);
        } else if state.reading && (is_over || self.is_to_close(state)) {
            self.end_output(state);
        } else if state.ended && state.is_empty() {
            // The reader watches it.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    // ---------------------------------------------------------------------------------------- both of them

    /// Sends whole records with nothing in between; `ended` is the request that ends with them.
    fn send(&self, slices: &mut [IoSlice<'_>], ended: Option<u16>) -> io::Result<()> {
        self.send_in_turn(&self.turns.take(), slices, ended)
    }

    /// Ends a response that failed. The connection ends with it if no other request is under way there.
    fn break_off(&self, id: u16, mut records: Vec<u8>, end: &[u8]) -> io::Result<Ended> {
        let turn = self.turns.take();
        // While it is our turn, the ends of those that are ending have been sent.
        let is_alone = {
            let state = self.lock();
            state.opening.is_empty() && state.running.iter().all(|exchange| exchange.id == id)
        };
        records.extend_from_slice(if is_alone { &BREAK } else { end });
        self.send_in_turn(&turn, &mut [IoSlice::new(&records)], Some(id))?;
        if !is_alone {
            return Ok(Ended::Orderly);
        }
        // Of what has begun meanwhile nothing is sent any more.
        self.broken.store(true, Ordering::Release);
        let mut state = self.lock();
        self.end_output(&mut state);
        state.running.iter().for_each(|exchange| exchange.lose());
        drop(state);
        self.app.news.tell();
        Ok(Ended::BrokenOff)
    }

    /// Sends records in a turn that was taken.
    fn send_in_turn(&self, _turn: &Turn<'_>, mut slices: &mut [IoSlice<'_>], ended: Option<u16>) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) {
            return Err(aborted("the connection is lost"));
        }
        self.slot.set_used(self.app.clock.order());
        if let Some(id) = ended {
            let mut state = self.lock();
            state.end(id);
            state.ending += usize::from(self.retire(&mut state, id));
        }
        IoSlice::advance_slices(&mut slices, 0); // drops empty ones
        while !slices.is_empty() {
            let error = match Stream::write_vectored(self.socket, slices) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    IoSlice::advance_slices(&mut slices, written);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Overdue::Answer.into(),
                Err(error) => self.timed_out().unwrap_or(error),
            };
            let kind = error.kind();
            self.lose(error.into());
            return Err(kind.into());
        }
        Ok(())
    }

    /// Takes a request from those running; `true` if it was one.
    fn retire(&self, state: &mut State<'c>, id: u16) -> bool {
        let Some(index) = state.running.iter().position(|exchange| exchange.id == id) else { return false };
        state.running.swap_remove(index);
        self.app.leave_handler();
        self.publish_overdue(state);
        true
    }

    /// Says that the connection is lost: nothing more is sent, and nobody waits for anything.
    fn lose(&self, fault: Fault) {
        self.broken.store(true, Ordering::Release);
        let mut state = self.lock();
        state.fault.get_or_insert(fault);
        state.running.iter().for_each(|exchange| exchange.lose());
        drop(state);
        self.app.news.tell();
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Says in the slot what the connection waits for.
    fn publish(&self, state: &State<'c>) {
        if state.closed && state.is_empty() {
            self.slot.set(SlotState::Detached);
        } else if state.closing {
            // It has its time already.
        } else if state.is_empty() {
            self.slot.set_idle(self.app.idle_until());
        } else {
            // Only while the reader reads can a peer be late.
            let by = state.opening.iter().map(|opening| opening.by).min().filter(|_| state.reading);
            self.slot.set(SlotState::Busy(by.unwrap_or(Deadline::NEVER)));
        }
    }

    /// Says in the slot when the first of the handlers is overdue.
    fn publish_overdue(&self, state: &State<'c>) {
        if self.app.limits.handler_time.is_some() {
            let at_work = state.running.iter().chain(&state.detached);
            let overdue = at_work.map(|exchange| exchange.overdue.load(Ordering::Relaxed)).min();
            self.slot.set_handler(overdue.map_or(Deadline::NEVER, Deadline));
        }
    }

    /// An end or error that the housekeeper brought about is a time limit that was over.
    fn timed_out(&self) -> Option<io::Error> {
        self.slot.is_timed_out().then(|| Overdue::Params.into())
    }
}
