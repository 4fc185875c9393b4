//! The input of a request on its way from the thread that reads its connection to the thread that handles it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::budget::{Budget, Exhausted, Share};
use crate::source::Source;
use crate::wire::aborted;

/// A bounded queue between the two: the reader waits while it is full, the handler while it is empty.
///
/// It holds `FCGI_STDIN` and, in a Filter, `FCGI_DATA` behind it.
pub(crate) struct Queue<'b> {
    state: Mutex<State<'b>>,
    /// What the one who waits waits for.
    changed: Condvar,
}

struct State<'b> {
    bytes: VecDeque<u8>,
    memory: Share<'b>,
    /// How many bytes in front belong to `FCGI_STDIN`, once its end has come.
    stdin_left: Option<usize>,
    input: Input,
    /// Whether somebody waits for a change.
    waited_for: bool,
}

/// What of the input is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// More.
    Open,
    /// Nothing: all of it came.
    Complete,
    /// Nothing: the web server aborted the request.
    Aborted,
    /// Nothing: the connection ended, or was silent for too long.
    Lost(ErrorKind),
    /// Whatever comes is not wanted: the handler has returned.
    Unwanted,
}

impl<'b> Queue<'b> {
    /// The most bytes it holds.
    const LIMIT: usize = 64 << 10;
    /// Memory it has for certain, so that a request under way goes on when the budget is used up.
    const LEAST: usize = 4 << 10;

    /// An empty queue; `complete` if nothing will ever come.
    pub(crate) fn new(budget: &'b Budget, complete: bool) -> Result<Self, Exhausted> {
        let mut memory = Share::new(budget);
        if !complete {
            memory.grow_to(Self::LEAST)?;
        }
        let stdin_left = complete.then_some(0);
        let input = if complete { Input::Complete } else { Input::Open };
        let state = State { bytes: VecDeque::new(), memory, stdin_left, input, waited_for: false };
        Ok(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Adds bytes of the open stream, as far as they are wanted, waiting for room; `true` if it waited.
    pub(crate) fn push(&self, mut bytes: &[u8]) -> bool {
        let mut waited = false;
        let mut state = self.lock();
        while state.input == Input::Open && !bytes.is_empty() {
            match state.room(bytes.len()) {
                0 => {
                    waited = true;
                    state = self.wait(state, None);
                }
                room => {
                    let (now, later) = bytes.split_at(room);
                    state.bytes.extend(now);
                    bytes = later;
                    self.notify(&mut state);
                }
            }
        }
        waited
    }

    /// Ends `FCGI_STDIN`; `complete` if nothing follows it.
    pub(crate) fn end_stdin(&self, complete: bool) {
        let mut state = self.lock();
        state.stdin_left = Some(state.bytes.len());
        if complete {
            state.close(Input::Complete);
        }
        self.notify(&mut state);
    }

    /// Ends `FCGI_DATA`.
    pub(crate) fn end_data(&self) {
        self.end(Input::Complete);
    }

    /// Says that the web server aborted the request.
    pub(crate) fn abort(&self) {
        self.end(Input::Aborted);
    }

    /// Says that the connection ended.
    pub(crate) fn lose(&self) {
        self.end(Input::Lost(ErrorKind::ConnectionAborted));
    }

    /// Says that no more is wanted, and gives the memory back.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.input = Input::Unwanted;
        state.bytes = VecDeque::new();
        state.memory.release();
        self.notify(&mut state);
    }

    fn end(&self, input: Input) {
        let mut state = self.lock();
        state.close(input);
        self.notify(&mut state);
    }

    /// Takes bytes of `FCGI_STDIN`, or of `FCGI_DATA`, waiting for some no longer than `silence`; none at its end.
    fn pull(&self, data: bool, buffer: &mut [u8], silence: Duration) -> io::Result<usize> {
        let by = Instant::now().checked_add(silence);
        let mut state = self.lock();
        loop {
            match state.input {
                Input::Aborted => return Err(aborted("the web server aborted the request")),
                Input::Lost(kind) => return Err(kind.into()),
                Input::Open | Input::Complete | Input::Unwanted => {}
            }
            let there = match state.stdin_left {
                Some(left) if !data => left,
                _ => state.bytes.len(),
            };
            if there > 0 {
                let len = there.min(buffer.len());
                let read = state.bytes.read(&mut buffer[..len])?;
                state.stdin_left = state.stdin_left.map(|left| left.saturating_sub(read));
                self.notify(&mut state);
                return Ok(read);
            }
            if state.input != Input::Open || (state.stdin_left.is_some() && !data) {
                return Ok(0);
            }
            let left = by.map(|by| by.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                state.close(Input::Lost(ErrorKind::TimedOut));
            } else {
                state = self.wait(state, left);
            }
        }
    }

    /// Whether [`pull`](Self::pull) would not wait.
    fn is_ready(&self, data: bool) -> bool {
        let state = self.lock();
        let there = state.stdin_left.filter(|_| !data).unwrap_or(state.bytes.len());
        there > 0 || state.input != Input::Open || (state.stdin_left.is_some() && !data)
    }

    fn wait<'g>(&self, mut state: MutexGuard<'g, State<'b>>, time: Option<Duration>) -> MutexGuard<'g, State<'b>> {
        state.waited_for = true;
        match time {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Wakes whoever waits; costs nothing while nobody does.
    fn notify(&self, state: &mut State<'b>) {
        if state.waited_for {
            state.waited_for = false;
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'b>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    /// How much of `wanted` bytes there is room for, taking memory for them if there is some.
    fn room(&mut self, wanted: usize) -> usize {
        let len = self.bytes.len();
        let want = (len + wanted).min(Queue::LIMIT);
        if want > self.memory.taken() && self.memory.grow_to(want.next_power_of_two()).is_ok() {
            self.bytes.reserve_exact(self.memory.taken() - len);
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(self.memory.taken());
        }
        wanted.min(self.memory.taken().min(Queue::LIMIT) - len)
    }

    fn close(&mut self, input: Input) {
        // What a handler has left stays left, and what ended badly stays bad.
        if matches!(self.input, Input::Open | Input::Complete) {
            self.input = input;
        }
    }
}

/// The body of a multiplexed request: what its [`Queue`] gives, through a buffer of the handler's thread.
pub(crate) struct Queued<'q, 'b> {
    queue: &'q Queue<'b>,
    silence: Duration,
    buffer: &'q mut [u8],
    /// What of the buffer is there and not yet taken.
    start: usize,
    end: usize,
    /// Whether `FCGI_DATA` is read.
    data: bool,
    is_filter: bool,
}

impl<'q, 'b> Queued<'q, 'b> {
    pub(crate) fn new(queue: &'q Queue<'b>, is_filter: bool, silence: Duration, buffer: &'q mut [u8]) -> Self {
        Self { queue, silence, buffer, start: 0, end: 0, data: false, is_filter }
    }

    /// Reads and skips what comes before the answer to a Filter may begin: the rest of `FCGI_STDIN`.
    pub(crate) fn skip_stdin(&mut self) {
        while self.is_filter && !self.data && self.fill().is_ok_and(|bytes| !bytes.is_empty()) {
            self.start = self.end;
        }
    }
}

impl Source for Queued<'_, '_> {
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.queue.pull(self.data, self.buffer, self.silence)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn fill_now(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end && !self.queue.is_ready(self.data) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.fill()
    }

    fn connection(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn consume(&mut self, amount: usize) {
        self.start += amount.min(self.end - self.start);
    }

    fn open_data(&mut self) -> io::Result<()> {
        if self.data || !self.is_filter {
            return Err(io::Error::new(ErrorKind::Unsupported, "only a Filter is given FCGI_DATA"));
        }
        self.data = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);

    #[track_caller]
    fn check(queue: &Queue<'_>, data: bool, want: Result<&[u8], ErrorKind>) {
        let mut buffer = [0; 8];
        let got = queue.pull(data, &mut buffer, LONG).map(|len| &buffer[..len]);
        assert_eq!(got.map_err(|error| error.kind()), want);
    }

    #[test]
    fn the_two_streams_of_a_filter_stay_apart() {
        let budget = Budget::new(1 << 20);
        let queue = Queue::new(&budget, false).expect("a budget");
        assert!(!queue.push(b"stdin"));
        queue.end_stdin(false);
        assert!(!queue.push(b"data"));
        check(&queue, false, Ok(b"stdin"));
        check(&queue, false, Ok(b""));
        check(&queue, true, Ok(b"data"));
        queue.end_data();
        check(&queue, true, Ok(b""));
    }

    #[test]
    fn what_is_not_there_is_not_waited_for() {
        let budget = Budget::new(1 << 20);
        let queue = Queue::new(&budget, false).expect("a budget");
        let mut buffer = [0; 8];
        let mut body = Queued::new(&queue, true, LONG, &mut buffer);
        #[track_caller]
        fn check(body: &mut Queued<'_, '_>, want: Result<&[u8], ErrorKind>) {
            assert_eq!(body.fill_now().map_err(|error| error.kind()), want);
            body.consume(8);
        }
        check(&mut body, Err(ErrorKind::WouldBlock));
        queue.push(b"some");
        check(&mut body, Ok(b"some"));
        check(&mut body, Err(ErrorKind::WouldBlock));
        queue.end_stdin(false);
        check(&mut body, Ok(b""));
        body.open_data().expect("there is a file");
        check(&mut body, Err(ErrorKind::WouldBlock));
        queue.push(b"data");
        queue.abort();
        check(&mut body, Err(ErrorKind::ConnectionAborted));
    }

    #[test]
    fn an_abort_is_seen_before_what_came_ahead_of_it() {
        let budget = Budget::new(1 << 20);
        let queue = Queue::new(&budget, false).expect("a budget");
        queue.push(b"some");
        queue.abort();
        queue.end_data();
        check(&queue, false, Err(ErrorKind::ConnectionAborted));
        check(&queue, false, Err(ErrorKind::ConnectionAborted));
    }

    #[test]
    fn silence_is_an_error_that_stays() {
        let budget = Budget::new(1 << 20);
        let queue = Queue::new(&budget, false).expect("a budget");
        for _ in 0..2 {
            let error = queue.pull(false, &mut [0; 8], Duration::from_millis(1)).expect_err("nothing came");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
        assert!(!queue.push(&[b'x'; Queue::LIMIT + 1]), "nobody wants it, so nobody waits");
    }

    /// Bytes go through in order whatever the budget, and the queue never holds more than it may.
    #[test]
    fn one_side_waits_for_the_other() {
        let count = if cfg!(miri) { 2 * Queue::LIMIT as u32 } else { 1_000_000 };
        let bytes: Vec<u8> = (0..count).map(|n: u32| (n % 251) as u8).collect();
        for memory in [Queue::LEAST, 20_000, 1 << 20] {
            let budget = Budget::new(memory);
            let queue = Queue::new(&budget, false).expect("a budget");
            let mut got: Vec<u8> = Vec::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    let waits = bytes.chunks(8192).filter(|piece| queue.push(piece)).count();
                    assert!(waits > 0, "it was full");
                    queue.end_stdin(true);
                });
                while !queue.lock().waited_for {
                    thread::yield_now(); // the other side comes to its limit first
                }
                let mut buffer = [0; 1000];
                loop {
                    let len = queue.pull(false, &mut buffer, LONG).expect("no silence");
                    assert!(queue.lock().bytes.len() <= Queue::LIMIT.min(memory));
                    got.extend(&buffer[..len]);
                    if len == 0 {
                        break;
                    }
                }
            });
            assert!(got == bytes, "differs with {memory} bytes of memory");
            drop(queue);
            assert_eq!(budget.left(), memory);
        }
    }

    #[test]
    fn a_handler_that_returns_lets_the_reader_go_on() {
        let budget = Budget::new(1 << 20);
        let queue = Queue::new(&budget, false).expect("a budget");
        thread::scope(|scope| {
            let reader = scope.spawn(|| queue.push(&[b'x'; Queue::LIMIT + 1]));
            while !queue.lock().waited_for {
                thread::yield_now();
            }
            queue.discard();
            assert!(reader.join().expect("no panic"));
        });
        assert_eq!(budget.left(), 1 << 20);
    }
}
