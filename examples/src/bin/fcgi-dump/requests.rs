//! The requests that a web server sends over a connection, put together from their records.

use std::collections::{HashMap, VecDeque};

use fcgi_proto::{BeginRequest, Config, Params, ProtocolError, RecordType, Role};
use sha2::{Digest, Sha256};

use super::records::Record;

/// A request, as far as it came.
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) begin: BeginRequest,
    /// Encoded params; behind those in `whole_params`, the front of a pair that records cut.
    params: Vec<u8>,
    whole_params: usize,
    pairs: u32,
    /// Whether the params went over a limit and the rest of them is left out.
    oversized: bool,
    pub(super) stdin_length: u64,
    stdin: Sha256,
    pub(super) stdin_complete: bool,
    pub(super) aborted: bool,
    phase: Phase,
    /// Whether nothing of it can come any more.
    over: bool,
}

/// Which input stream of a request is open.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Params,
    Stdin,
    Data,
    Complete,
}

/// All requests of a connection, in the order in which they began.
///
/// It refuses what an application built on [`fcgi_proto::Session`] refuses, with the same errors. But it shows more: the
/// bodies that an Authorizer would not read, requests in roles that nobody plays, and those that came although the
/// connection was to be closed. Params go up to the session's limits; of a body only the digest is kept.
#[derive(Default)]
pub(super) struct Requests {
    /// From the oldest that was not given out.
    queue: VecDeque<Request>,
    /// How many were given out.
    given: usize,
    /// Which request has an id now, by its number since the beginning.
    active: HashMap<u16, usize>,
    management: u64,
}

impl Requests {
    /// Takes the next record from the web server; gives the params that are whole with it and were not before.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<Params<'_>, ProtocolError> {
        let (id, kind) = (record.header.id, record.header.kind);
        if id == 0 {
            self.management += 1;
            let cut = kind == RecordType::GetValues && whole_pairs(record.content).0 < record.content.len();
            return if cut { Err(ProtocolError::CutValues(record.header.content)) } else { Ok(Params::default()) };
        }
        if kind == RecordType::BeginRequest {
            return self.begin(record).map(|()| Params::default());
        }
        // A request that is over: the application has ended it, and the server may not know it yet.
        let Some(request) = self.active(id) else { return Ok(Params::default()) };
        request.take(kind, record.content)
    }

    /// Says that the application ended request `id`.
    pub(super) fn end(&mut self, id: u16) {
        if let Some(request) = self.active(id) {
            request.over = true;
        }
        self.active.remove(&id);
    }

    /// Says that no more records come.
    pub(super) fn end_all(&mut self) {
        self.active.clear();
        for request in &mut self.queue {
            request.over = true;
        }
    }

    /// The next request in order of their beginnings, once it is over.
    pub(super) fn pop(&mut self) -> Option<Request> {
        if !self.queue.front()?.over {
            return None;
        }
        self.given += 1;
        self.queue.pop_front()
    }

    /// How many management records came.
    pub(super) fn management(&self) -> u64 {
        self.management
    }

    fn active(&mut self, id: u16) -> Option<&mut Request> {
        let at = self.active.get(&id)?.checked_sub(self.given)?;
        self.queue.get_mut(at).filter(|request| !request.over)
    }

    fn begin(&mut self, record: &Record<'_>) -> Result<(), ProtocolError> {
        let id = record.header.id;
        if self.active(id).is_some_and(|request| !request.may_have_ended()) {
            return Err(ProtocolError::DuplicateBegin(id));
        }
        let body = record.content.try_into().map_err(|_| ProtocolError::BeginLength(record.header.content))?;
        self.end(id);
        self.active.insert(id, self.given + self.queue.len());
        self.queue.push_back(Request::new(id, BeginRequest::decode(body)));
        Ok(())
    }
}

impl Request {
    fn new(id: u16, begin: BeginRequest) -> Self {
        Self {
            id,
            begin,
            params: Vec::new(),
            whole_params: 0,
            pairs: 0,
            oversized: false,
            stdin_length: 0,
            stdin: Sha256::new(),
            stdin_complete: false,
            aborted: false,
            phase: Phase::Params,
            over: false,
        }
    }

    /// The params that came whole.
    pub(super) fn params(&self) -> Params<'_> {
        Params::new(&self.params[..self.whole_params])
    }

    /// Whether these are all.
    pub(super) fn params_complete(&self) -> bool {
        self.phase != Phase::Params && !self.oversized
    }

    /// The SHA-256 of the body that came, in hexadecimal digits.
    pub(super) fn stdin_sha256(&self) -> String {
        self.stdin.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn role(&self) -> Option<Role> {
        Role::from_wire(self.begin.role)
    }

    /// Whether the application may have answered in full, so that the id may begin again. A recording of what the
    /// server said does not tell.
    fn may_have_ended(&self) -> bool {
        match self.role() {
            Some(Role::Responder | Role::Filter) => self.phase == Phase::Complete,
            Some(Role::Authorizer) => self.phase != Phase::Params,
            None => true, // refused at its beginning
        }
    }

    /// The table: what each type of record means in each phase.
    fn take(&mut self, kind: RecordType, content: &[u8]) -> Result<Params<'_>, ProtocolError> {
        use RecordType as Type;
        let filter = self.role() == Some(Role::Filter);
        match (self.phase, kind) {
            (Phase::Params, Type::Params) if content.is_empty() => self.end_params()?,
            (Phase::Params, Type::Params) => return Ok(self.add_params(content)),
            (Phase::Params, Type::Stdin) => self.refuse(ProtocolError::EarlyStdin(self.id))?,
            (Phase::Params, Type::Data) => self.refuse(ProtocolError::EarlyData(self.id))?,

            (Phase::Stdin, Type::Stdin) if content.is_empty() => {
                self.stdin_complete = true;
                self.phase = if filter { Phase::Data } else { Phase::Complete };
            }
            (Phase::Stdin, Type::Stdin) => {
                self.stdin_length += content.len() as u64;
                self.stdin.update(content);
            }
            (Phase::Stdin, Type::Data) if filter => self.refuse(ProtocolError::EarlyData(self.id))?,

            (Phase::Data, Type::Data) if content.is_empty() => self.phase = Phase::Complete,

            (_, Type::AbortRequest) => {
                self.aborted = true;
                self.over = true;
            }
            // Of no meaning where it came: an application skips it.
            _ => {}
        }
        Ok(Params::default())
    }

    /// Breaks the stream, unless the request was refused: then nobody looks at what is sent for it.
    fn refuse(&self, error: ProtocolError) -> Result<(), ProtocolError> {
        if self.role().is_some() { Err(error) } else { Ok(()) }
    }

    fn add_params(&mut self, content: &[u8]) -> Params<'_> {
        let limits = Config::default();
        let before = self.whole_params;
        self.oversized |= self.params.len() + content.len() > limits.max_params_len as usize;
        if !self.oversized {
            self.params.extend_from_slice(content);
            let (len, pairs) = whole_pairs(&self.params[before..]);
            self.pairs = self.pairs.saturating_add(pairs);
            self.oversized = self.pairs > limits.max_pairs;
            if !self.oversized {
                self.whole_params += len;
            }
        }
        Params::new(&self.params[before..self.whole_params])
    }

    fn end_params(&mut self) -> Result<(), ProtocolError> {
        if !self.oversized && self.whole_params < self.params.len() {
            self.refuse(ProtocolError::CutParams(self.id))?;
        }
        self.phase = Phase::Stdin;
        Ok(())
    }
}

/// How many bytes of `encoded` are whole pairs, and how many pairs they are.
fn whole_pairs(encoded: &[u8]) -> (usize, u32) {
    let mut pairs = Params::new(encoded).iter();
    let number = pairs.by_ref().fold(0u32, |number, _| number.saturating_add(1));
    (encoded.len() - pairs.rest().len(), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Records;
    use fcgi_proto::{Event, RecordType, Session};

    /// A recording, record by record; gives what breaks it.
    fn take_all(requests: &mut Requests, mut wire: &[u8]) -> Result<(), ProtocolError> {
        let mut records = Records::default();
        while let Some(record) = records.next(&mut wire)? {
            requests.take(&record)?;
        }
        Ok(())
    }

    fn record(kind: RecordType, id: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(content.len()).expect("short enough").to_be_bytes();
        [&[1, kind.to_wire(), 0, id, len[0], len[1], 0, 0], content].concat()
    }

    fn begin(id: u8, role: u8) -> Vec<u8> {
        record(RecordType::BeginRequest, id, &[0, role, 1, 0, 0, 0, 0, 0])
    }

    /// What a session makes of a recording, when requests end as soon as they may have.
    fn session(mut wire: &[u8]) -> Result<(), ProtocolError> {
        let mut session = Session::<4>::new(Config::default());
        while let Some(event) = session.next(&mut wire)? {
            match event {
                Event::Abort { id } => session.end(id),
                Event::ParamsEnd { id } | Event::StdinEnd { id } | Event::DataEnd { id }
                    if session.input_complete(id) =>
                {
                    session.end(id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[test]
    fn breaks_where_a_session_does() {
        use RecordType as Type;
        let alphabet = [
            begin(1, 1),
            begin(1, 2),
            begin(1, 3),
            begin(1, 4),
            record(Type::BeginRequest, 1, b"short"),
            record(Type::Params, 1, b"\x01\x01a"),
            record(Type::Params, 1, b"b"),
            record(Type::Params, 1, b""),
            record(Type::Stdin, 1, b"body"),
            record(Type::Stdin, 1, b""),
            record(Type::Data, 1, b"data"),
            record(Type::Data, 1, b""),
            record(Type::AbortRequest, 1, b""),
            record(Type::Stdout, 1, b"out"),
            record(Type::GetValues, 0, b"\x01\x00a"),
            record(Type::GetValues, 0, b"\x01"),
        ];
        // All sequences of three records, in front of them each way in which a request begins well.
        let fronts: [&[usize]; 6] = [&[], &[0, 7], &[0, 7, 9], &[1, 7], &[2, 7, 9], &[3, 7]];
        for front in fronts {
            for number in 0..alphabet.len().pow(3) {
                let behind = (0..3).map(|place| number / alphabet.len().pow(place) % alphabet.len());
                let wire: Vec<u8> = front.iter().copied().chain(behind).flat_map(|at| alphabet[at].clone()).collect();
                let broken = take_all(&mut Requests::default(), &wire);
                assert_eq!(broken, session(&wire), "{}", wire.escape_ascii());
            }
        }
    }

    #[test]
    fn requests_come_out_in_the_order_of_their_beginnings() {
        let mut requests = Requests::default();
        let mut take = |wire: &[Vec<u8>]| {
            take_all(&mut requests, &wire.concat()).expect("valid");
            std::iter::from_fn(|| requests.pop()).map(|request| request.id).collect::<Vec<_>>()
        };
        let complete = |id| [begin(id, 2), record(RecordType::Params, id, b"")].concat();
        assert_eq!(take(&[begin(5, 1), complete(3), complete(4)]), []);
        assert_eq!(take(&[complete(3), complete(3)]), [], "5 is still under way");
        assert_eq!(take(&[record(RecordType::AbortRequest, 5, b"")]), [5, 3]);
        assert_eq!(take(&[complete(4)]), [4, 3]);
        requests.end(3);
        assert_eq!(requests.pop().map(|request| request.id), Some(3));
        requests.end_all();
        assert_eq!(requests.pop().map(|request| request.id), Some(4));
        assert!(requests.pop().is_none());
    }

    /// The params of a request that come with each of some records.
    #[track_caller]
    fn check_params(contents: &[&[u8]], want: &[usize], complete: bool) {
        let mut requests = Requests::default();
        take_all(&mut requests, &begin(1, 1)).expect("valid");
        for (content, &want) in contents.iter().chain([&&b""[..]]).zip(want.iter().chain([&0])) {
            let wire = record(RecordType::Params, 1, content);
            let mut records = Records::default();
            let record = records.next(&mut &wire[..]).expect("valid").expect("whole");
            assert_eq!(requests.take(&record).expect("valid").iter().count(), want);
        }
        requests.end_all();
        let request = requests.pop().expect("a request");
        assert_eq!(request.params().iter().count(), want.iter().sum());
        assert_eq!(request.params_complete(), complete);
    }

    #[test]
    fn params_are_given_out_when_they_are_whole() {
        check_params(&[b"\x01\x01ab\x01\x01c", b"d", b"\x01", b"\x00a\x00\x00"], &[1, 1, 0, 2], true);
    }

    #[test]
    fn params_up_to_the_limits() {
        let pairs = |number: usize| b"\x01\x00a".repeat(number);
        check_params(&[&pairs(16383), &pairs(1)], &[16383, 1], true);
        check_params(&[&pairs(16383), &pairs(2), &pairs(1)], &[16383, 0, 0], false);
        // A pair of 65,536 bytes in two records: sixteen of them are one MiB.
        let pair = [&b"\x01\x80\x00\xff\xfaa"[..], &[b'v'; 0xfffa]].concat();
        let halves: Vec<&[u8]> = pair.chunks(32768).collect();
        assert_eq!(pair.len(), 65536);
        let mut contents = halves.repeat(16);
        let mut want = [0, 1].repeat(16);
        check_params(&contents, &want, true);
        contents.push(b"\x00\x00");
        want.push(0);
        check_params(&contents, &want, false);
    }
}
