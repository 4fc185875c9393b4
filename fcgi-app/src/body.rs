use std::io::{self, BufRead, ErrorKind, Read};

use fcgi_proto::{Event, ProtocolError, Reply, Session};

use crate::input::Input;
use crate::wire::{Wire, aborted};

/// The body of a request, `FCGI_STDIN`, read as it comes.
///
/// Nothing is read ahead of the handler beyond the connection's buffer, so a slow handler slows its client down.
/// nginx, mod_fcgid and Caddy stop sending a body when the answer to it begins: read it to its end first, or as far as
/// you want it, unless you know your web server.
///
/// As a [`BufRead`] it lends the bytes in place, without copying.
///
/// # Errors
/// - `UnexpectedEof` at the end of a body that is shorter than its `CONTENT_LENGTH`: an upload that was cut must not
///   pass for a whole one;
/// - `ConnectionAborted` when the web server gave the request up, by `FCGI_ABORT_REQUEST` or by closing;
/// - `TimedOut` when no byte came for as long as [`Limits::silence`](crate::Limits::silence);
/// - `InvalidData` when it broke the protocol.
///
/// Each of them comes again at every later read.
pub struct Body<'c> {
    wire: &'c Wire<'c>,
    session: &'c mut Session,
    input: Input<'c>,
    id: u16,
    /// Bytes of the body in front of the unread input.
    pending: usize,
    /// Bytes that `CONTENT_LENGTH` promised and that have not come.
    missing: u64,
    refused: bool,
    state: State,
}

/// How the input of a request ended.
pub(crate) struct Finished {
    /// Whether all of it came and was used.
    pub(crate) complete: bool,
    /// Whether another request was refused meanwhile, of which records may still come.
    pub(crate) refused: bool,
    /// What the peer did wrong, if it did.
    pub(crate) broken: Option<ProtocolError>,
    /// Where the unread input is, for [`Input::rejoin`].
    pub(crate) extent: (usize, usize),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    Complete,
    Aborted,
    Broken(ProtocolError),
    Lost(ErrorKind),
}

impl<'c> Body<'c> {
    pub(crate) fn new(
        wire: &'c Wire<'c>,
        session: &'c mut Session,
        input: Input<'c>,
        id: u16,
        content_length: Option<u64>,
    ) -> Self {
        let missing = content_length.unwrap_or(0);
        Self { wire, session, input, id, pending: 0, missing, refused: false, state: State::Open }
    }

    /// Ends the request on the side of its input: skips what was read of it and not used, and reads no more.
    pub(crate) fn finish(mut self) -> Finished {
        while matches!(self.state, State::Open) {
            self.consume(self.pending);
            if !self.step() {
                break;
            }
        }
        self.consume(self.pending);
        Finished {
            complete: self.session.input_complete(self.id),
            refused: self.refused,
            broken: match self.state {
                State::Broken(error) => Some(error),
                State::Open | State::Complete | State::Aborted | State::Lost(_) => None,
            },
            extent: self.input.extent(),
        }
    }

    /// Goes on in the input until there are bytes of the body, or none will come.
    fn advance(&mut self) {
        while self.pending == 0 && matches!(self.state, State::Open) {
            if !self.step() {
                self.refill();
            }
        }
    }

    /// Takes the next event from what was read; `false` if that takes more input.
    fn step(&mut self) -> bool {
        let mut rest = self.input.unread();
        let event = self.session.next(&mut rest);
        let mut left = rest.len();
        let mut found = true;
        match event {
            Ok(Some(Event::Stdin { content, .. })) => {
                self.pending = content.len();
                left += content.len();
                self.missing = self.missing.saturating_sub(content.len() as u64);
            }
            Ok(Some(Event::StdinEnd { .. })) => self.state = State::Complete,
            Ok(Some(Event::Abort { .. })) => {
                self.wire.set_aborted(true);
                self.state = State::Aborted;
            }
            Ok(Some(Event::Reply(reply))) => self.reply(reply),
            // One request at a time: nothing else has an event while its body is read.
            Ok(Some(_)) => {}
            Ok(None) => found = false,
            Err(error) => self.lose(State::Broken(error)),
        }
        self.input.used_but(left);
        found
    }

    fn refill(&mut self) {
        // Params were moved before the handler began: room for a body takes nothing from the budget.
        let read = self.input.room().map_or(Err(ErrorKind::OutOfMemory.into()), |room| self.wire.read(room));
        match read {
            Ok(0) => match self.session.end_of_input() {
                Ok(()) => self.lose(State::Lost(ErrorKind::ConnectionAborted)),
                Err(error) => self.lose(State::Broken(error)),
            },
            Ok(read) => self.input.filled(read),
            Err(error) => self.lose(State::Lost(error.kind())),
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.refused |= matches!(reply, Reply::Refuse { .. });
        let mut out = [0; Reply::MAX_LEN];
        if let Err(error) = self.wire.write(reply.encode(&mut out)) {
            self.state = State::Lost(error.kind());
        }
    }

    fn lose(&mut self, state: State) {
        self.wire.set_broken();
        self.state = state;
    }
}

impl BufRead for Body<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance();
        match self.state {
            _ if self.pending > 0 => Ok(&self.input.unread()[..self.pending]),
            State::Open | State::Complete if self.missing == 0 => Ok(&[]),
            State::Open | State::Complete => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "the body is shorter than its CONTENT_LENGTH"))
            }
            State::Aborted => Err(aborted("the web server aborted the request")),
            State::Broken(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
            State::Lost(kind) => Err(kind.into()),
        }
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.pending);
        self.pending -= amount;
        self.input.used_but(self.input.unread().len() - amount);
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut pending = self.fill_buf()?;
        let read = pending.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
