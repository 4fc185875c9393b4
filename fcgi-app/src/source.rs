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

    /// [`fill`](Self::fill) in as many pieces as it came, if there is room for them; gives their number and length.
    fn fill_vectored<'s>(&'s mut self, pieces: &mut [IoSlice<'s>]) -> io::Result<(usize, usize)> {
        let piece = self.fill()?;
        pieces[0] = IoSlice::new(piece);
        Ok((1, piece.len()))
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

impl Finished {
    /// What there was to come had come with the params.
    pub(crate) const COMPLETE: Self = Self { complete: true, refused: false, broken: None };
}

/// Ranges of the input, in order: as many as a large buffer usually has records. No input is as long as 32 bits say, and
/// these are made for each request.
#[derive(Default)]
struct Pieces {
    ranges: [Range<u32>; Self::MOST],
    first: usize,
    end: usize,
    /// How many bytes they are.
    len: usize,
}

impl Pieces {
    const MOST: usize = 16;

    fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges[self.first..self.end].iter().map(|range| range.start as usize..range.end as usize)
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn is_full(&self) -> bool {
        self.end >= Self::MOST
    }

    fn push(&mut self, start: usize, len: usize) {
        self.ranges[self.end] = start as u32..(start + len) as u32;
        self.end += 1;
        self.len += len;
    }

    /// Takes so many bytes off the front, or all there are.
    fn take(&mut self, mut amount: usize) {
        if amount >= self.len {
            (self.first, self.end, self.len) = (0, 0, 0);
            return;
        }
        self.len -= amount;
        for range in &mut self.ranges[self.first..self.end] {
            if amount < range.len() {
                range.start += amount as u32;
                return;
            }
            amount -= range.len();
            self.first += 1;
        }
    }
}

impl<'c, 'm> Direct<'c, 'm> {
    pub(crate) fn new(wire: &'c Wire<'c>, session: &'c mut Session, input: Input<'c, 'm>, id: u16) -> Self {
        let mut direct =
            Self { wire, session, input, id, pending: Pieces::default(), refused: false, state: State::Open };
        // Not for a Filter: it may answer when it has read STDIN, not when that happens to be there.
        if wire.may_answer() {
            direct.look_through();
        }
        direct.publish();
        direct
    }

    /// Ends the request on the side of its input: reads and skips what comes before the answer to a Filter may begin, the
    /// rest of `FCGI_STDIN`, then skips what was read and not used, and reads no more.
    pub(crate) fn finish(mut self) -> (Finished, Rest<'m>) {
        while !self.wire.may_answer() && matches!(self.state, State::Open) {
            self.consume(usize::MAX);
            self.advance();
        }
        while matches!(self.state, State::Open | State::BetweenStreams) {
            self.consume(usize::MAX);
            if !self.step() {
                break;
            }
        }
        let finished = Finished {
            complete: self.session.input_complete(self.id),
            refused: self.refused,
            broken: match self.state {
                State::Broken(error) => Some(error),
                State::Open | State::BetweenStreams | State::Complete | State::Aborted | State::Lost(_) => None,
            },
        };
        (finished, self.input.rest())
    }

    /// Goes on in what was read, as far as it is of the open stream and there is room for pieces.
    fn look_through(&mut self) {
        while matches!(self.state, State::Open) && !self.pending.is_full() && self.step() {}
    }

    fn publish(&self) {
        publish(self.wire, self.session, &self.input, self.id);
    }

    /// Goes on in the input until there are bytes of the open stream, or none will come.
    fn advance(&mut self) {
        while self.pending.is_empty() && matches!(self.state, State::Open) {
            if !self.step() {
                self.refill();
            }
        }
    }

    /// Goes on in what was read over pieces of the open stream, if they come next, as far as there is room for them; else
    /// to the next thing that happened. `false` if there was nothing.
    fn step(&mut self) -> bool {
        let end = self.input.end();
        let mut rest = self.input.unread();
        if rest.is_empty() {
            return false;
        }
        let (start, before) = (end - rest.len(), self.pending.len);
        self.session.next_contents(self.id, &mut rest, |content| {
            self.pending.push(start + content.start, content.len());
            !self.pending.is_full()
        });
        if self.pending.len > before {
            let left = rest.len();
            self.input.used_but(left);
            return true;
        }
        let event = self.session.next(&mut rest);
        let left = rest.len();
        match event {
            Ok(None) => {
                self.input.used_but(left);
                return false;
            }
            // The first piece of a record whose header was cut.
            Ok(Some(Event::Stdin { content, .. } | Event::Data { content, .. })) => {
                self.pending.push(end - left - content.len(), content.len());
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
            return Ok(&self.input.bytes()[first]);
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

    fn fill_vectored<'s>(&'s mut self, pieces: &mut [IoSlice<'s>]) -> io::Result<(usize, usize)> {
        self.fill()?;
        self.look_through();
        let bytes = self.input.bytes();
        let mut count = 0;
        for (piece, range) in pieces.iter_mut().zip(self.pending.iter()) {
            *piece = IoSlice::new(&bytes[range]);
            count += 1;
        }
        Ok((count, self.pending.len))
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
            _ => Err(no_data()),
        }
    }
}

/// The input streams of a request of which all has come and nothing is left.
pub(crate) struct Complete<'c> {
    wire: &'c Wire<'c>,
}

impl<'c> Complete<'c> {
    pub(crate) fn new(wire: &'c Wire<'c>, session: &Session, input: &Input<'_, '_>, id: u16) -> Self {
        publish(wire, session, input, id);
        Self { wire }
    }
}

impl Source for Complete<'_> {
    fn fill(&mut self) -> io::Result<&[u8]> {
        Ok(&[])
    }

    fn fill_now(&mut self) -> io::Result<&[u8]> {
        Ok(&[])
    }

    fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.wire.connection()
    }

    fn consume(&mut self, _amount: usize) {}

    fn open_data(&mut self) -> io::Result<()> {
        Err(no_data())
    }
}

/// Says whether a record is the next to come: all that was read was looked at.
fn publish(wire: &Wire<'_>, session: &Session, input: &Input<'_, '_>, id: u16) {
    let is_next = input.unread().is_empty() && session.end_of_input().is_ok();
    wire.set_next_record(is_next.then_some(id));
    wire.set_kept(is_next && session.is_kept() && session.input_complete(id));
}

fn no_data() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "only a Filter is given FCGI_DATA")
}
