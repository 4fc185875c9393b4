//! What the reader of a connection and its handlers share.

use std::collections::VecDeque;
use std::sync::Arc;

use fcgi_proto::{Role, Session};

use super::REQUESTS;
use super::channel::Exchange;
use crate::budget::Bytes;
use crate::clock::Deadline;
use crate::connection::Fault;
use crate::roles::Handler;

/// What the reader and the handlers of a connection share.
pub(super) struct State<'c> {
    pub(super) session: Session<REQUESTS>,
    /// Requests whose params are not complete.
    pub(super) opening: Vec<Opening<'c>>,
    /// Requests that have a handler and no end.
    pub(super) running: Vec<Arc<Exchange<'c>>>,
    /// How many others are on the point of sending their end.
    pub(super) ending: usize,
    /// Requests whose handlers work on behind their end.
    pub(super) detached: Vec<Arc<Exchange<'c>>>,
    /// What of those running waits for a thread.
    pub(super) ready: VecDeque<Job<'c>>,
    /// Handler threads that wait for a request.
    pub(super) spare: usize,
    /// Whether the reader is in its read, or about to be.
    pub(super) reading: bool,
    /// Whether a request ended since the reader's last read.
    pub(super) answered: bool,
    /// Whether all input so far belonged to requests that were read to their end.
    pub(super) input_complete: bool,
    /// Whether the peer sends nothing more.
    pub(super) ended: bool,
    /// Whether the last answer has gone, so that what still comes is discarded.
    pub(super) closing: bool,
    /// Whether the reader has gone.
    pub(super) closed: bool,
    /// Why the connection ends before its time.
    pub(super) fault: Option<Fault>,
}

/// A request whose params are coming.
pub(super) struct Opening<'c> {
    pub(super) id: u16,
    pub(super) role: Role,
    pub(super) handler: Handler<'c>,
    pub(super) params: Bytes<'c>,
    /// When they have to be complete.
    pub(super) by: Deadline,
}

/// A request for a handler thread, with the params, which belong to that alone.
pub(super) type Job<'c> = (Arc<Exchange<'c>>, Bytes<'c>);

impl<'c> State<'c> {
    pub(super) fn new(session: Session<REQUESTS>) -> Self {
        Self {
            session,
            opening: Vec::new(),
            running: Vec::new(),
            ending: 0,
            detached: Vec::new(),
            ready: VecDeque::new(),
            spare: 0,
            reading: false,
            answered: false,
            input_complete: true,
            ended: false,
            closing: false,
            closed: false,
            fault: None,
        }
    }

    /// Whether no request is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.opening.is_empty() && self.running.is_empty() && self.ending == 0
    }

    /// Whether the peer has nothing more to send that we know of.
    pub(super) fn is_all_read(&self) -> bool {
        self.input_complete && self.session.end_of_input().is_ok()
    }

    /// How many bytes the params of all requests under way have.
    pub(super) fn params_len(&self) -> usize {
        let opening: usize = self.opening.iter().map(|opening| opening.params.as_slice().len()).sum();
        opening + self.running.iter().map(|exchange| exchange.params_len).sum::<usize>()
    }

    pub(super) fn take_opening(&mut self, id: u16) -> Option<Opening<'c>> {
        let index = self.opening.iter().position(|opening| opening.id == id)?;
        Some(self.opening.swap_remove(index))
    }

    /// Frees an id.
    pub(super) fn end(&mut self, id: u16) {
        self.input_complete &= self.session.input_complete(id);
        self.session.end(id);
    }
}
