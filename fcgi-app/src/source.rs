use std::io::{self, ErrorKind};

use fcgi_proto::{Event, ProtocolError, Reply, Session};

use crate::input::Input;
use crate::wire::{Output, Wire, aborted};

/// Where a [`Body`](crate::Body) comes from: the input streams of a request, one after the other.
pub(crate) trait Source {
    /// What is there of the open stream and not yet taken, waiting for it; nothing at its end.
    fn fill(&mut self) -> io::Result<&[u8]>;

    /// Takes bytes that [`fill`](Self::fill) gave.
    fn consume(&mut self, amount: usize);

    /// Opens `FCGI_DATA` once `FCGI_STDIN` is at its end.
    fn open_data(&mut self) -> io::Result<()>;
}

/// The input streams of the only request on a connection, read from it when they are wanted.
pub(crate) struct Direct<'c> {
    wire: &'c Wire<'c>,
    session: &'c mut Session,
    input: Input<'c>,
    id: u16,
    /// Bytes of the open stream in front of the unread input.
    pending: usize,
    refused: bool,
    state: State,
}

/// How far a request's input is.
#[derive(Debug, Clone, Copy)]
enum State {
    /// A stream is open.
    Open,
    /// `FCGI_STDIN` has ended, and `FCGI_DATA` is to be opened.
    BetweenStreams,
    /// All of it came.
    Complete,
    Aborted,
    Broken(ProtocolError),
    Lost(ErrorKind),
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

impl<'c> Direct<'c> {
    pub(crate) fn new(wire: &'c Wire<'c>, session: &'c mut Session, input: Input<'c>, id: u16) -> Self {
        let state = if session.input_complete(id) { State::Complete } else { State::Open };
        Self { wire, session, input, id, pending: 0, refused: false, state }
    }

    /// Reads and skips what comes before the answer to a Filter may begin: the rest of `FCGI_STDIN`.
    pub(crate) fn skip_stdin(&mut self) {
        while !self.wire.may_answer() && matches!(self.state, State::Open) {
            self.consume(self.pending);
            self.advance();
        }
    }

    /// Ends the request on the side of its input: skips what was read of it and not used, and reads no more.
    pub(crate) fn finish(mut self) -> Finished {
        while matches!(self.state, State::Open | State::BetweenStreams) {
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
                State::Open | State::BetweenStreams | State::Complete | State::Aborted | State::Lost(_) => None,
            },
            extent: self.input.extent(),
        }
    }

    /// Goes on in the input until there are bytes of the open stream, or none will come.
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
            Ok(Some(Event::Stdin { content, .. } | Event::Data { content, .. })) => {
                self.pending = content.len();
                left += content.len();
            }
            Ok(Some(Event::StdinEnd { .. })) => {
                self.wire.set_may_answer(true);
                let is_all = self.session.input_complete(self.id);
                self.state = if is_all { State::Complete } else { State::BetweenStreams };
            }
            Ok(Some(Event::DataEnd { .. })) => self.state = State::Complete,
            Ok(Some(Event::Abort { .. })) => {
                self.wire.set_aborted(true);
                self.state = State::Aborted;
            }
            Ok(Some(Event::Reply(reply))) => self.reply(reply),
            Ok(Some(Event::Skipped { header })) => self.wire.log_skipped(header),
            // One request at a time: nothing else has an event while its input is read.
            Ok(Some(
                Event::Begin { .. } | Event::Params { .. } | Event::ParamsEnd { .. } | Event::Oversized { .. },
            )) => {}
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

impl Source for Direct<'_> {
    fn fill(&mut self) -> io::Result<&[u8]> {
        self.advance();
        match self.state {
            _ if self.pending > 0 => Ok(&self.input.unread()[..self.pending]),
            State::Open | State::BetweenStreams | State::Complete => Ok(&[]),
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

    fn open_data(&mut self) -> io::Result<()> {
        match self.state {
            State::BetweenStreams => {
                self.state = State::Open;
                Ok(())
            }
            _ => Err(io::Error::new(ErrorKind::Unsupported, "only a Filter is given FCGI_DATA")),
        }
    }
}
