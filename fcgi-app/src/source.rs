use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use fcgi_proto::{Event, ProtocolError, Reply, Session};

use crate::input::{Input, Rest};
use crate::wire::{Output, Wire, aborted};

/// Where a [`Body`](crate::Body) comes from: the input streams of a request, one after the other.
pub(crate) trait Source {
    /// What is there of the open stream and not yet taken, waiting for it; nothing at its end.
    fn fill(&mut self) -> io::Result<&[u8]>;

    /// The same without waiting: `WouldBlock` when more is still to come.
    fn fill_now(&mut self) -> io::Result<&[u8]>;

    /// What becomes readable when there may be more, if there is such a thing.
    fn connection(&self) -> Option<BorrowedFd<'_>>;

    /// [`fill`](Self::fill) in as many pieces as it came, if there is room for them; gives their number.
    fn fill_vectored<'s>(&'s mut self, pieces: &mut [IoSlice<'s>]) -> io::Result<usize> {
        let piece = self.fill()?;
        pieces[0] = IoSlice::new(piece);
        Ok(usize::from(!piece.is_empty()))
    }

    /// Takes bytes that one of these gave.
    fn consume(&mut self, amount: usize);

    /// Opens `FCGI_DATA` once `FCGI_STDIN` is at its end.
    fn open_data(&mut self) -> io::Result<()>;
}

/// The input streams of the only request on a connection, read from it when they are wanted.
pub(crate) struct Direct<'c, 'm> {
    wire: &'c Wire<'c>,
    session: &'c mut Session,
    input: Input<'c, 'm>,
    id: u16,
    /// Where the bytes of the open stream are that were not yet taken.
    pending: Pieces,
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
}

/// Ranges of the input, in order: as many as a large buffer usually has records. No input is as long as 32 bits say, and
/// these are made for each request.
#[derive(Default)]
struct Pieces {
    ranges: [Range<u32>; Self::MOST],
    first: usize,
    end: usize,
}

impl Pieces {
    const MOST: usize = 16;

    fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges[self.first..self.end].iter().map(|range| range.start as usize..range.end as usize)
    }

    fn is_empty(&self) -> bool {
        self.first == self.end
    }

    fn is_full(&self) -> bool {
        self.end == Self::MOST
    }

    fn push(&mut self, range: Range<usize>) {
        if self.is_empty() {
            (self.first, self.end) = (0, 0);
        }
        self.ranges[self.end] = range.start as u32..range.end as u32;
        self.end += 1;
    }

    /// Takes so many bytes off the front, or all there are.
    fn take(&mut self, mut amount: usize) {
        while let Some(range) = self.ranges[..self.end].get_mut(self.first) {
            let taken = amount.min(range.len());
            range.start += taken as u32;
            amount -= taken;
            if range.start < range.end {
                return;
            }
            self.first += 1;
        }
    }
}

impl<'c, 'm> Direct<'c, 'm> {
    pub(crate) fn new(wire: &'c Wire<'c>, session: &'c mut Session, input: Input<'c, 'm>, id: u16) -> Self {
        let state = if session.input_complete(id) { State::Complete } else { State::Open };
        let mut direct = Self { wire, session, input, id, pending: Pieces::default(), refused: false, state };
        // Not for a Filter: it may answer when it has read STDIN, not when that happens to be there.
        if wire.may_answer() {
            direct.look_through();
        }
        direct.publish();
        direct
    }

    /// Reads and skips what comes before the answer to a Filter may begin: the rest of `FCGI_STDIN`.
    pub(crate) fn skip_stdin(&mut self) {
        while !self.wire.may_answer() && matches!(self.state, State::Open) {
            self.consume(usize::MAX);
            self.advance();
        }
    }

    /// Ends the request on the side of its input: skips what was read of it and not used, and reads no more.
    pub(crate) fn finish(&mut self) -> Finished {
        while matches!(self.state, State::Open | State::BetweenStreams) {
            self.consume(usize::MAX);
            if !self.step() {
                break;
            }
        }
        Finished {
            complete: self.session.input_complete(self.id),
            refused: self.refused,
            broken: match self.state {
                State::Broken(error) => Some(error),
                State::Open | State::BetweenStreams | State::Complete | State::Aborted | State::Lost(_) => None,
            },
        }
    }

    /// What is left of the input, when the request ended.
    pub(crate) fn rest(&mut self) -> Rest<'m> {
        self.input.rest()
    }

    /// Goes on in what was read, as far as it is of the open stream and there is room for pieces.
    fn look_through(&mut self) {
        while matches!(self.state, State::Open) && !self.pending.is_full() && self.step() {}
    }

    /// Says whether a record is the next to come: all that was read was looked at.
    fn publish(&self) {
        let is_next = self.input.unread().is_empty() && self.session.end_of_input().is_ok();
        self.wire.set_next_record(is_next.then_some(self.id));
    }

    /// Goes on in the input until there are bytes of the open stream, or none will come.
    fn advance(&mut self) {
        while self.pending.is_empty() && matches!(self.state, State::Open) {
            if !self.step() {
                self.refill();
            }
        }
    }

    /// Goes on in what was read to where something else than a piece of the open stream comes, or no more pieces fit;
    /// `false` if there was nothing.
    fn step(&mut self) -> bool {
        let end = self.input.end();
        let mut rest = self.input.unread();
        let mut found = false;
        let event = loop {
            match self.session.next(&mut rest) {
                Ok(Some(Event::Stdin { content, .. } | Event::Data { content, .. })) => {
                    let end = end - rest.len();
                    self.pending.push(end - content.len()..end);
                    found = true;
                    if self.pending.is_full() {
                        break Ok(None);
                    }
                }
                event => break event,
            }
        };
        let left = rest.len();
        match event {
            Ok(None) => {
                self.input.used_but(left);
                return found;
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
                Event::Begin { .. }
                | Event::Params { .. }
                | Event::ParamsEnd { .. }
                | Event::Oversized { .. }
                | Event::Stdin { .. }
                | Event::Data { .. },
            )) => {}
            Err(error) => self.lose(State::Broken(error)),
        }
        self.input.used_but(left);
        true
    }

    fn refill(&mut self) {
        match self.wire.read(self.input.body_room()) {
            Ok(0) => match self.session.end_of_input() {
                Ok(()) => self.lose(State::Lost(ErrorKind::ConnectionAborted)),
                Err(error) => self.lose(State::Broken(error)),
            },
            Ok(read) => {
                self.input.filled(read);
                self.wire.set_next_record(None);
            }
            // A peer that resets the connection gives the request up like one that closes it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.lose(State::Lost(ErrorKind::ConnectionAborted));
            }
            Err(error) => self.lose(State::Lost(error.kind())),
        }
    }

    fn reply(&mut self, reply: Reply) {
        self.refused |= matches!(reply, Reply::Refuse { .. });
        if let Err(error) = self.wire.reply(&reply) {
            self.state = State::Lost(error.kind());
        }
    }

    fn lose(&mut self, state: State) {
        self.wire.set_broken();
        self.state = state;
    }
}

impl Source for Direct<'_, '_> {
    fn fill(&mut self) -> io::Result<&[u8]> {
        self.advance();
        self.publish();
        if let Some(first) = self.pending.iter().next() {
            return Ok(self.input.used(first));
        }
        match self.state {
            State::Open | State::BetweenStreams | State::Complete => Ok(&[]),
            State::Aborted => Err(aborted("the web server aborted the request")),
            State::Broken(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
            State::Lost(kind) => Err(kind.into()),
        }
    }

    fn fill_now(&mut self) -> io::Result<&[u8]> {
        while self.pending.is_empty() && matches!(self.state, State::Open) {
            if !self.step() {
                if !self.wire.is_readable()? {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.refill();
            }
        }
        self.fill()
    }

    fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.wire.connection()
    }

    fn fill_vectored<'s>(&'s mut self, pieces: &mut [IoSlice<'s>]) -> io::Result<usize> {
        self.fill()?;
        self.look_through();
        let mut count = 0;
        for (piece, range) in pieces.iter_mut().zip(self.pending.iter()) {
            *piece = IoSlice::new(self.input.used(range));
            count += 1;
        }
        Ok(count)
    }

    fn consume(&mut self, amount: usize) {
        self.pending.take(amount);
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
