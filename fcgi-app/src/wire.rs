use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_proto::{Config, Event, Header, RecordType, Reply, Session};
use socket2::{Domain, SockRef, Socket};

use crate::app::App;
use crate::clock::Deadline;
use crate::slot::{Slot, State};
use crate::sys::{self, Found};

/// What a connection comes over: bytes in both directions, as a socket has them.
pub(crate) trait Stream {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// What can be polled; `None` when a read never waits.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Gives the connection away, since the handler works on behind the end of its response: to be served by another thread
    /// if it is kept and nothing of it was read that belongs to another request, else to be closed.
    fn give_away(&self, _is_kept: bool) {}
}

impl Stream for Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read(self.as_fd(), buffer)
    }

    fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::write(self.as_fd(), slices)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

/// What an answer goes out over.
pub(crate) trait Output {
    /// Whether any of it may be sent yet: a Filter's may not before the end of its STDIN.
    fn may_answer(&self) -> bool;

    /// Whether anything but its end may still be sent: not after an abort, nor when the connection is lost.
    fn may_send(&self) -> bool;

    /// Whether the client is known to have gone: the connection ended on the side of the web server. A web server that only
    /// ended its sending still gets what is sent.
    fn is_gone(&self) -> bool;

    /// Whether the server is stopping.
    fn is_stopping(&self) -> bool;

    /// Whether other answers go out between two calls of [`send`](Self::send), which then should be one a record.
    fn is_shared(&self) -> bool;

    /// Waits for so long, or until the response is not wanted any more, or the server stops if that is to be heard.
    fn wait(&self, time: Duration, hears_stop: bool);

    /// Looks whether the response is still wanted.
    fn look(&self);

    /// Sends whole records, gathered from `slices`; `is_end` if `FCGI_END_REQUEST` is the last of them.
    fn send(&self, slices: &mut [IoSlice<'_>], is_end: bool) -> io::Result<()>;

    /// Gives the connection away behind the end of the response: its handler works on.
    fn detach(&self);

    /// Sends the last records of a response that failed, and [`BREAK`] behind them. Where other requests are under way on
    /// the connection it sends `end` instead, `FCGI_END_REQUEST`.
    fn break_off(&self, records: Vec<u8>, end: &[u8]) -> io::Result<Ended>;
}

/// What no FastCGI record begins with. A web server that reads it knows that the response is not whole, with or without
/// a length; a bare close passes for the end of one at most of them.
pub(crate) const BREAK: [u8; 8] = [0; 8];

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By `FCGI_END_REQUEST`.
    Orderly,
    /// Broken off: the connection is to end.
    BrokenOff,
    /// By its handler, which has worked on since: the connection is another thread's.
    Before,
}

/// What a peer took too long for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Overdue {
    Params,
    Body,
    Answer,
}

impl From<Overdue> for io::Error {
    fn from(what: Overdue) -> Self {
        let why = match what {
            Overdue::Params => "the params of a request took too long to come",
            Overdue::Body => "nothing came of a body for too long",
            Overdue::Answer => "nothing of an answer was taken for too long",
        };
        Self::new(ErrorKind::TimedOut, why)
    }
}

/// The stream of a connection as its two users see it: the body that reads, the response that writes.
///
/// What the one learns the other must know: after an abort no more output is wanted but the end of the request, and
/// after something fatal nothing is sent at all. Each wait for the peer is published with its deadline.
pub(crate) struct Wire<'c> {
    stream: &'c dyn Stream,
    slot: &'c Slot,
    app: &'c App,
    /// Whether output may be sent yet.
    may_answer: Cell<bool>,
    aborted: Cell<bool>,
    broken: Cell<bool>,
    /// Whether the peer has ended its side of the connection, by which TCP says that it has closed it.
    gone: Cell<bool>,
    /// Whether it has ended its side and is known to read on.
    half_closed: Cell<bool>,
    /// Whether another thread may serve it behind the response under way: all of the request was read, and no more.
    is_kept: Cell<bool>,
    /// Whether it was given away.
    detached: Cell<bool>,
    /// What it is lost by, if that was a time limit.
    overdue: Cell<Option<Overdue>>,
    /// The request under way, when what comes next is a record.
    next_record: Cell<Option<u16>>,
    /// Whether a skipped record was logged: once a connection is enough.
    skipped: Cell<bool>,
}

impl<'c> Wire<'c> {
    pub(crate) fn new(stream: &'c dyn Stream, slot: &'c Slot, app: &'c App) -> Self {
        Self {
            stream,
            slot,
            app,
            may_answer: Cell::new(true),
            aborted: Cell::new(false),
            broken: Cell::new(false),
            gone: Cell::new(false),
            half_closed: Cell::new(false),
            is_kept: Cell::new(false),
            detached: Cell::new(false),
            overdue: Cell::new(None),
            next_record: Cell::new(None),
            skipped: Cell::new(false),
        }
    }

    /// Says whether output of the request under way may be sent yet: a Filter's may not before the end of its STDIN.
    pub(crate) fn set_may_answer(&self, may: bool) {
        self.may_answer.set(may);
    }

    /// Says whether the request under way was aborted by its web server.
    pub(crate) fn set_aborted(&self, aborted: bool) {
        self.aborted.set(aborted);
    }

    /// Says that the connection is lost: whatever would still be sent fails.
    pub(crate) fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Says that the next to come is a record, while this request is under way; `None` when it is not so.
    pub(crate) fn set_next_record(&self, request: Option<u16>) {
        self.next_record.set(request);
    }

    /// Says whether the connection may be given away: it is kept, and all of the request was read, and no more.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        self.is_kept.set(is_kept);
    }

    /// Whether the connection was given away.
    pub(crate) fn is_detached(&self) -> bool {
        self.detached.get()
    }

    /// Reads what is there of a body, with the limit of silence; 0 is the end of the input.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_until(self.app.clock.deadline(self.app.limits.silence), Overdue::Body, buffer)
    }

    /// Reads what is there of the params of a request, waiting until a deadline; 0 is the end of the input.
    pub(crate) fn read_params(&self, deadline: Deadline, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_until(deadline, Overdue::Params, buffer)
    }

    fn read_until(&self, deadline: Deadline, what: Overdue, buffer: &mut [u8]) -> io::Result<usize> {
        self.slot.set(State::Busy(deadline));
        let read = self.receive(what, buffer);
        self.slot.set(State::Busy(Deadline::NEVER));
        read
    }

    /// Reads what is there, without publishing that it waits.
    pub(crate) fn read_idle(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(Overdue::Params, buffer)
    }

    fn receive(&self, what: Overdue, buffer: &mut [u8]) -> io::Result<usize> {
        if self.detached.get() {
            return Err(io::Error::new(
                ErrorKind::NotConnected,
                "the response has ended, and the connection is given away",
            ));
        }
        loop {
            let read = self.stream.read(buffer);
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(1..) => return read,
                Ok(_) | Err(_) => {
                    self.check_time(what)?;
                    return read.inspect_err(|_| self.set_broken());
                }
            }
        }
    }

    /// Whether a read would not wait.
    pub(crate) fn is_readable(&self) -> io::Result<bool> {
        self.connection().map_or(Ok(true), |socket| sys::poll_socket(socket, false, Duration::ZERO))
    }

    /// Whether something was sent that was not read yet.
    #[cold]
    pub(crate) fn is_queued(&self) -> bool {
        self.connection().is_some_and(|socket| sys::peek(socket, &mut [0]).is_ok_and(|count| count > 0))
    }

    /// What can be polled, if there is such a thing.
    pub(crate) fn connection(&self) -> Option<BorrowedFd<'c>> {
        self.stream.descriptor().filter(|_| !self.detached.get())
    }

    /// Sends whole records.
    pub(crate) fn write(&self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            records = &records[self.write_some(&[IoSlice::new(records)])?..];
        }
        Ok(())
    }

    /// Sends what the protocol itself answers.
    #[cold] // and so off the stack of requests
    #[inline(never)]
    pub(crate) fn reply(&self, reply: &Reply) -> io::Result<()> {
        self.write(reply.encode(&mut [0; Reply::MAX_LEN]))
    }

    /// Sends whole records, gathered from `slices`, with as few calls as the socket allows.
    pub(crate) fn write_vectored(&self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut left: usize = slices.iter().map(|slice| slice.len()).sum();
        while left > 0 {
            let written = self.write_some(slices)?;
            left -= written;
            if left > 0 {
                IoSlice::advance_slices(&mut slices, written);
            }
        }
        Ok(())
    }

    /// Sends as much as the socket takes at once of slices that are not all empty.
    fn write_some(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken.get() || self.detached.get() {
            let lost = || aborted("the connection is lost");
            return Err(self.overdue.get().map_or_else(lost, io::Error::from));
        }
        self.slot.set_used(self.app.clock.order());
        let deadline = self.app.clock.deadline(self.app.limits.write_time);
        loop {
            self.slot.set(State::Writing(deadline));
            let written = self.stream.write_vectored(slices);
            self.slot.set(State::Busy(Deadline::NEVER));
            let error = match written {
                Ok(1..) => return written,
                Ok(0) => ErrorKind::WriteZero.into(),
                // The housekeeper interrupts a write at its deadline. What was taken by then is returned above, and more has
                // time of its own.
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    if !self.app.clock.is_past(deadline) {
                        continue;
                    }
                    self.overdue.set(Some(Overdue::Answer));
                    Overdue::Answer.into()
                }
                Err(error) => error,
            };
            self.set_broken();
            return Err(error);
        }
    }

    /// Waits for what the peer does, at most for so long: `false` if it did nothing.
    fn watch(&self, time: Duration, may_read: &mut bool) -> bool {
        let (socket, next) = (self.connection(), self.next_record.get().filter(|_| *may_read));
        // Once it is known, it is of no interest: it would end every wait at once.
        let for_end = !self.half_closed.get();
        let Ok(found) = sys::wait_for_peer(socket, next.is_some(), for_end, Some(time)) else {
            // No memory for it, or no descriptor allowed: what cannot be watched is waited for all the same.
            thread::sleep(time.min(Duration::from_millis(100)));
            return false;
        };
        if found.hang_up {
            self.set_gone();
            self.set_broken();
            return true;
        }
        if let (true, Some(id), Some(socket)) = (found.input, next, socket) {
            *may_read = self.look_ahead(id, socket);
        }
        if found.end_of_input {
            // A unix socket that was closed is hung up; TCP says no more than that nothing comes.
            let reads_on = self.app.half_close || self.slot.is_input_ended() || is_unix(socket);
            if reads_on { self.half_closed.set(true) } else { self.set_gone() }
        }
        found != Found::default()
    }

    fn set_gone(&self) {
        self.gone.set(true);
    }

    /// Looks at what comes next while request `id` waits: finds an abort, and answers a management record. All else is not
    /// read, since it is for the body or the next request; then, and when nothing more can come, `false`.
    fn look_ahead(&self, id: u16, socket: BorrowedFd<'_>) -> bool {
        let mut bytes = [0; 256];
        let records = match sys::peek(socket, &mut bytes) {
            Ok(len) => &bytes[..len],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return true,
            Err(_) => {
                self.set_broken();
                return false;
            }
        };
        if is_aborted(id, records) {
            self.set_aborted(true);
            return false;
        }
        let Some((reply, len)) = management_reply(self.app.config, records) else { return false };
        self.read_idle(&mut bytes[..len]).is_ok() && self.reply(&reply).is_ok()
    }

    /// Says that a record had no meaning where it came and was skipped.
    #[cold]
    #[inline(never)]
    pub(crate) fn log_skipped(&self, header: Header) {
        if !self.skipped.replace(true) && self.app.clock.may_log() {
            log::warn!("{} of request {} has no meaning where it came, skipped", header.kind, header.id);
        }
    }

    /// An end or error that the housekeeper brought about is a time limit that was over.
    fn check_time(&self, what: Overdue) -> io::Result<()> {
        if !self.slot.is_timed_out() {
            return Ok(());
        }
        self.set_broken();
        self.overdue.set(Some(what));
        Err(what.into())
    }
}

impl Output for Wire<'_> {
    fn may_answer(&self) -> bool {
        self.may_answer.get()
    }

    fn may_send(&self) -> bool {
        !self.aborted.get() && !self.broken.get()
    }

    fn is_gone(&self) -> bool {
        self.gone.get()
    }

    fn is_stopping(&self) -> bool {
        self.app.is_stopping()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn wait(&self, time: Duration, hears_stop: bool) {
        let begun = Instant::now();
        let mut may_read = true;
        self.slot.set_hears_stop(hears_stop);
        loop {
            let left = time.saturating_sub(begun.elapsed());
            self.watch(left, &mut may_read);
            let is_over = !self.may_send() || self.gone.get() || left.is_zero();
            if is_over || (hears_stop && self.app.is_stopping()) {
                break;
            }
        }
        self.slot.set_hears_stop(false);
    }

    fn look(&self) {
        /// A peer may have sent as many management records, or go on sending them.
        const MOST: usize = 16;
        let mut may_read = true;
        let mut looks = 0..MOST;
        while self.may_send() && !self.gone.get() && looks.next().is_some() && self.watch(Duration::ZERO, &mut may_read)
        {
        }
    }

    fn detach(&self) {
        let is_kept = self.is_kept.get() && !self.app.is_stopping();
        self.detached.set(true);
        self.slot.set(State::Detached);
        self.stream.give_away(is_kept);
    }

    fn send(&self, slices: &mut [IoSlice<'_>], _is_end: bool) -> io::Result<()> {
        match slices {
            [records] => self.write(records),
            _ => self.write_vectored(slices),
        }
    }

    fn break_off(&self, mut records: Vec<u8>, _end: &[u8]) -> io::Result<Ended> {
        records.extend(BREAK);
        self.write(&records).map(|()| Ended::BrokenOff)
    }
}

fn is_unix(socket: Option<BorrowedFd<'_>>) -> bool {
    socket.is_some_and(|socket| SockRef::from(&socket).domain().is_ok_and(|domain| domain == Domain::UNIX))
}

/// Whether records abort a request that is under way.
fn is_aborted(id: u16, mut records: &[u8]) -> bool {
    while let Some((header, rest)) = records.split_first_chunk() {
        let Ok(header) = Header::decode(header) else { return false };
        match header.kind {
            RecordType::AbortRequest if header.id == id => return true,
            // The next request, of the same id.
            RecordType::BeginRequest if header.id == id => return false,
            _ => records = rest.get(usize::from(header.content) + usize::from(header.padding)..).unwrap_or_default(),
        }
    }
    false
}

/// What is answered to the first of some records, and how long that is, if it is whole and such a one.
fn management_reply(config: Config, mut records: &[u8]) -> Option<(Reply, usize)> {
    let header = Header::decode(records.first_chunk()?).ok().filter(|header| header.id == 0)?;
    let len = Header::LEN + usize::from(header.content) + usize::from(header.padding);
    records = records.get(..len)?;
    match Session::<1>::new(config).next(&mut records) {
        Ok(Some(Event::Reply(reply))) => Some((reply, len)),
        Ok(_) | Err(_) => None,
    }
}

/// How a request ends that its web server gave up.
pub(crate) fn aborted(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, why)
}
