//! One thread: a connection at a time, and the requests under way on it.
//!
//! A request on a kept connection costs a look for the end of the input, a write and a read; with a connection of its
//! own also what it takes to make and to end that.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_proto::{EndRequest, ProtocolError, ResponseEvent};

use super::answer::Answer;
use super::budget::Budget;
use super::connection::Connection;
use super::failure::{Class, Failure, reason};
use super::plan::Plan;
use super::tally::Tally;

/// How much is read at once: small answers come whole, large ones with few system calls.
const BUFFER: usize = 64 * 1024;

/// How long nobody may accept a connection before the run ends.
const OUTAGE: Duration = Duration::from_secs(2);

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(10);

/// A thread's part of the run.
pub(super) struct Client<'r> {
    plan: &'r Plan,
    budget: &'r Budget,
    /// A request id each, from 1 on.
    slots: Vec<Slot>,
    /// How many of them have a request under way.
    active: usize,
    /// What has yet to be sent.
    unsent: VecDeque<Part>,
    buffer: Vec<u8>,
    /// Since when nobody has accepted a connection.
    outage: Option<Instant>,
    tally: Tally,
}

/// What is known of the request with one id.
#[derive(Default)]
struct Slot {
    request: Option<Request>,
    answer: Answer,
}

/// A request under way.
#[derive(Clone, Copy)]
struct Request {
    began: Instant,
    /// Whether it is sent for the second time.
    retried: bool,
}

/// A range of the bytes of the request in a slot.
struct Part {
    slot: usize,
    range: Range<usize>,
}

/// Why a connection was of no more use before all of its requests had ended.
enum Loss {
    Closed(String),
    Overdue,
    Fault(String),
}

impl<'r> Client<'r> {
    pub(super) fn new(plan: &'r Plan, budget: &'r Budget) -> Self {
        Self {
            plan,
            budget,
            slots: plan.requests.iter().map(|_| Slot::default()).collect(),
            active: 0,
            unsent: VecDeque::with_capacity(2 * plan.requests.len()),
            buffer: vec![0; BUFFER],
            outage: None,
            tally: Tally::new(2 * plan.timeout),
        }
    }

    /// Sends requests until no more are to begin, and says what came of them.
    pub(super) fn run(mut self) -> Tally {
        let mut kept: Option<Connection> = None;
        while !self.tally.gave_up && self.begin_requests() {
            if kept.as_ref().is_some_and(Connection::has_ended) {
                kept = None;
                self.tally.found_closed += 1;
            }
            if let Some(mut connection) = kept.take().or_else(|| self.connect()) {
                match self.converse(&mut connection) {
                    Ok(()) if self.plan.mode.keeps() => kept = Some(connection),
                    // Before the pause: a worker may wait for the end of it, and a web server lets it go at once.
                    Ok(()) => drop(connection),
                    Err(loss) => {
                        self.lose(&connection, loss);
                        drop(connection);
                    }
                }
                thread::sleep(self.plan.pause);
            }
        }
        self.tally
    }

    /// Gives each free id a request, as long as there are any; `false` if none is under way then.
    fn begin_requests(&mut self) -> bool {
        let (now, before) = (Instant::now(), self.unsent.len());
        for (index, slot) in self.slots.iter_mut().enumerate() {
            // A request that was answered before all of it was sent keeps its id until it is.
            if slot.request.is_some() || self.unsent.iter().any(|part| part.slot == index) {
                continue;
            }
            if !self.budget.take(now) {
                break;
            }
            slot.request = Some(Request { began: now, retried: false });
            slot.answer.clear();
            self.unsent.push_back(Part { slot: index, range: 0..self.plan.requests[index].bytes.len() });
            self.active += 1;
        }
        self.interleave(before);
        self.active > 0
    }

    /// Of several requests to be sent, from the `first` on, sends the heads before the bodies: one after the other, an
    /// application would see no more than one at a time.
    fn interleave(&mut self, first: usize) {
        let end = self.unsent.len();
        if end - first < 2 {
            return;
        }
        for at in first..end {
            let Part { slot, ref mut range } = self.unsent[at];
            let body = self.plan.requests[slot].head..range.end;
            range.end = body.start;
            self.unsent.push_back(Part { slot, range: body });
        }
    }

    fn connect(&mut self) -> Option<Connection> {
        match self.plan.target.connect() {
            Ok(socket) => {
                self.outage = None;
                self.tally.connections += 1;
                Some(Connection::new(socket))
            }
            Err(failure) => {
                if failure.class == Class::Connect {
                    let since = *self.outage.get_or_insert_with(Instant::now);
                    self.tally.gave_up = since.elapsed() >= OUTAGE;
                    thread::sleep(PAUSE);
                }
                self.fail_all(&failure);
                None
            }
        }
    }

    /// Sends requests and takes their answers until none is under way.
    fn converse(&mut self, connection: &mut Connection) -> Result<(), Loss> {
        // What was answered early is sent to its end, for what follows it on a kept connection.
        while self.active > 0 || (self.plan.mode.keeps() && !self.unsent.is_empty()) {
            self.send(connection);
            let count = self.receive(connection)?;
            self.tally.received += count as u64;
            self.take(count, connection)?;
            // With nothing under way, our caller looks first whether the connection is still there.
            if self.active > 0 && self.plan.mode.keeps() && self.plan.pause.is_zero() {
                self.begin_requests();
            }
        }
        self.unsent.clear();
        Ok(())
    }

    /// Sends what can be sent without waiting.
    fn send(&mut self, connection: &Connection) {
        while let Some(Part { slot, range }) = self.unsent.front_mut() {
            match connection.send(&self.plan.requests[*slot].bytes[range.clone()]) {
                Ok(count) => {
                    self.tally.sent += count as u64;
                    range.start += count;
                    if range.start < range.end {
                        return;
                    }
                    self.unsent.pop_front();
                }
                // It closed, which does not mean that it did not answer: what follows tells.
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// Waits for bytes from the application, sending what is left meanwhile.
    fn receive(&mut self, connection: &Connection) -> Result<usize, Loss> {
        while !self.unsent.is_empty() {
            let left = self.plan.timeout.saturating_sub(self.longest_wait());
            match connection.wait_for_either(left) {
                Ok(Some(true)) => break,
                Ok(Some(false)) => self.send(connection),
                Ok(None) => return Err(Loss::Overdue),
                Err(error) => return Err(Loss::Closed(reason(&error))),
            }
        }
        if self.active == 0 && self.unsent.is_empty() {
            return Ok(0);
        }
        match connection.receive(&mut self.buffer) {
            Ok(0) => Err(Loss::Closed("closed".into())),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Loss::Overdue),
            Err(error) => Err(Loss::Closed(reason(&error))),
        }
    }

    /// How long the oldest request under way has been.
    fn longest_wait(&self) -> Duration {
        let oldest = self.slots.iter().filter_map(|slot| slot.request).map(|request| request.began).min();
        oldest.map(|began| began.elapsed()).unwrap_or_default()
    }

    /// Takes the first `count` bytes of the buffer, which just came.
    fn take(&mut self, count: usize, connection: &mut Connection) -> Result<(), Loss> {
        let buffer = std::mem::take(&mut self.buffer);
        let taken = self.take_bytes(&buffer[..count], connection);
        self.buffer = buffer;
        taken
    }

    fn take_bytes(&mut self, mut bytes: &[u8], connection: &mut Connection) -> Result<(), Loss> {
        let (now, plan) = (Instant::now(), self.plan);
        while let Some(event) = connection.decoder.next(&mut bytes)? {
            match event {
                ResponseEvent::Stdout { id, content } => self.answer(id)?.take(content, &plan.want),
                ResponseEvent::Stderr { id, content } => {
                    self.answer(id)?.begun = true;
                    self.tally.stderr += content.len() as u64;
                }
                ResponseEvent::StdoutEnd { id } | ResponseEvent::StderrEnd { id } => self.answer(id)?.begun = true,
                ResponseEvent::End { id, end } => {
                    connection.served += 1;
                    let closed = if plan.mode.keeps() { Ok(()) } else { expect_end(connection, bytes) };
                    self.end(id, end, closed, now)?;
                }
                // Answers to questions we did not ask.
                ResponseEvent::Values(_) | ResponseEvent::UnknownType(_) => {}
            }
        }
        // Somebody who sends a byte now and then is late all the same.
        if self.active > 0 && self.longest_wait() > self.plan.timeout { Err(Loss::Overdue) } else { Ok(()) }
    }

    /// The answer to the request with an id that was sent.
    fn answer(&mut self, id: u16) -> Result<&mut Answer, Loss> {
        let index = usize::from(id).wrapping_sub(1);
        let unknown = self.unsent.iter().any(|part| part.slot == index && part.range.start == 0);
        match self.slots.get_mut(index) {
            Some(Slot { request: Some(_), answer }) if !unknown => Ok(answer),
            _ => Err(Loss::Fault(format!("a record of request {id}, which is not active"))),
        }
    }

    /// Ends a request; `closed` says whether its connection was closed as it should be.
    fn end(&mut self, id: u16, end: EndRequest, closed: Result<(), Failure>, now: Instant) -> Result<(), Loss> {
        let plan = self.plan;
        let verdict = self.answer(id)?.verdict(end, &plan.want).and(closed);
        if let Some(Request { began, .. }) = self.slots[usize::from(id) - 1].request.take() {
            self.active -= 1;
            match verdict {
                Ok(()) => self.tally.right(now - began),
                Err(failure) => self.fail(failure),
            }
        }
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        self.budget.note_failure();
        self.tally.wrong(failure);
    }

    /// Counts all requests under way as failed in the same way.
    fn fail_all(&mut self, failure: &Failure) {
        for index in 0..self.slots.len() {
            if self.slots[index].request.take().is_some() {
                self.fail(failure.clone());
            }
        }
        self.unsent.clear();
        self.active = 0;
    }

    /// Goes through what was under way on a connection that is of no more use. When a kept connection is closed, what got
    /// no byte of an answer is sent once more on the next one: the application may have closed it before our bytes came.
    fn lose(&mut self, connection: &Connection, loss: Loss) {
        let why = match loss {
            Loss::Closed(why) => why,
            Loss::Overdue => return self.fail_all(&Failure::new(Class::Timeout, "no whole answer in time")),
            Loss::Fault(why) => return self.fail_all(&Failure::wrong(why)),
        };
        self.unsent.clear();
        // Whose answer the record is that was cut, we do not know.
        let cut = connection.decoder.end_of_input().is_err();
        for index in 0..self.slots.len() {
            let Slot { request: Some(request), answer } = &mut self.slots[index] else { continue };
            let begun = answer.begun || cut;
            if !begun && connection.served > 0 && !request.retried {
                request.retried = true;
                self.unsent.push_back(Part { slot: index, range: 0..self.plan.requests[index].bytes.len() });
                self.tally.retries += 1;
                continue;
            }
            self.slots[index].request = None;
            self.active -= 1;
            self.fail(if begun {
                Failure::new(Class::Cut, format!("{why} within an answer"))
            } else {
                Failure::new(Class::Unanswered, format!("{why} before any byte of an answer"))
            });
        }
        self.interleave(0);
    }
}

impl From<ProtocolError> for Loss {
    fn from(error: ProtocolError) -> Self {
        match error {
            // fcgi-app sends zeros, which no record begins with, to break a response off.
            ProtocolError::Version(0) => Self::Closed("broken off".into()),
            error => Self::Fault(error.to_string()),
        }
    }
}

/// Waits for the end of a connection that was not to be kept, after which nothing may come, neither in the `rest` of what
/// came with the answer nor later.
fn expect_end(connection: &Connection, rest: &[u8]) -> Result<(), Failure> {
    let received = if rest.is_empty() { connection.receive(&mut [0; 1]) } else { Ok(rest.len()) };
    match received {
        Ok(1..) => Err(Failure::wrong("more bytes after END_REQUEST")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(Failure::new(Class::Timeout, "the connection was not closed after its answer"))
        }
        // Also by a reset: the application may not have read all of our bytes.
        Ok(0) | Err(_) => Ok(()),
    }
}
