//! The application's side of a connection: which requests are active, and what of each has come.
//!
//! Theory of operation. The decoder cuts the input into fragments of records. Management records (request id 0) are
//! answered on the spot. `BEGIN_REQUEST` takes one of a fixed number of places, or is refused. Everything else
//! belongs to a place, by its id, or to nobody, and then is skipped: after END a server may still be sending. A place
//! goes through the phases below, one input stream after the other, until the caller has sent END and says so.

use core::ops::Range;

use crate::body::FixedBody;
use crate::scanner::Scanner;
use crate::values::ValuesReader;
use crate::{
    BeginRequest, Config, Decoder, Event, Fragment, Header, Opening, Pair, ProtocolError, ProtocolStatus, RecordType,
    Reply, Role, UnknownType, Values,
};

/// The application's side of one connection: bytes in, [`Event`]s out, at most `REQUESTS` requests at once.
///
/// With the default of one request at a time a second `FCGI_BEGIN_REQUEST` is refused with `FCGI_CANT_MPX_CONN` and
/// servers are told `FCGI_MPXS_CONNS=0`; with more, those over the number with `FCGI_OVERLOADED`, and `1`. One that
/// waits behind a complete request in the input is simply the next request: bytes read ahead are the caller's.
///
/// The session does no I/O and reads no clock: time limits belong to the caller. It never panics, allocates nothing
/// and keeps no content: its size is fixed, about 120 bytes and 24 for each request.
#[derive(Debug, Clone)]
pub struct Session<const REQUESTS: usize = 1> {
    connection: Connection,
    requests: [Place; REQUESTS],
}

/// Room for an active request.
type Place = Option<Request>;

/// What a session keeps beside its requests; apart, so that it is compiled once and not for each number of them.
#[derive(Debug, Clone)]
struct Connection {
    config: Config,
    decoder: Decoder,
    /// The `BEGIN_REQUEST` being read, if its record was cut.
    begin_body: FixedBody,
    /// The `GET_VALUES` being read.
    query: ValuesReader,
    /// Whether a request without `KEEP_CONN` came, so that the connection ends with its requests.
    closing: bool,
}

/// An active request.
#[derive(Debug, Clone, Copy)]
struct Request {
    id: u16,
    role: Role,
    phase: Phase,
    /// Its params, checked up to here.
    params: Scanner,
}

/// Which input stream of a request is open.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// `PARAMS`.
    Params,
    /// `STDIN`.
    Stdin,
    /// `DATA`, in a Filter.
    Data,
    /// None: all its input came.
    Complete,
    /// None: it was aborted or refused, and what still comes is skipped.
    Over,
}

impl<const REQUESTS: usize> Session<REQUESTS> {
    /// A session at the start of a connection.
    pub fn new(config: Config) -> Self {
        let connection = Connection {
            config,
            decoder: Decoder::new(),
            begin_body: FixedBody::new(),
            query: ValuesReader::new(),
            closing: false,
        };
        Self { connection, requests: [None; REQUESTS] }
    }

    /// Takes input off the front of `input` until something happened.
    ///
    /// `None` means that all of `input` was consumed and more is needed. Take an event as it comes, above all
    /// [`Event::Reply`]; `input` then holds what follows it.
    ///
    /// # Errors
    /// A [`ProtocolError`] is final: log it, send nothing more, close the connection, abort its handlers. Every later
    /// call gives it again.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        self.connection.next(&mut self.requests, input)
    }

    /// Takes a request off the front of `input`, if all of it up to the end of its params is there in whole records, and the
    /// params in one: most servers send most requests so, and they are found in half the steps that [`next`](Self::next)
    /// takes for their events. `visit` sees each pair of the params, in order, as it is checked.
    ///
    /// `None` when it is not so, and nothing has happened: forget what `visit` saw, and go on with `next`, which knows every
    /// case, errors included.
    #[inline]
    pub fn next_request<'a>(&mut self, input: &mut &'a [u8], visit: impl FnMut(Pair<'a>)) -> Option<Opening> {
        self.connection.next_request(&mut self.requests, input, visit)
    }

    /// Takes pieces of the body of request `id`, of `FCGI_STDIN` or whichever stream is open, off the front of `input`, as
    /// long as they come next and `take` says that it has room for more: what [`next`](Self::next) gives as
    /// [`Event::Stdin`] or [`Event::Data`], in half the steps. `take` is told where in `input`, as that was given, each is.
    ///
    /// Whatever else comes is for `next`, as is the first piece of a record whose header was cut.
    #[inline]
    pub fn next_contents(&mut self, id: u16, input: &mut &[u8], take: impl FnMut(Range<usize>) -> bool) {
        let kind = match find(&mut self.requests, id).map(|request| request.phase) {
            Some(Phase::Stdin) => RecordType::Stdin,
            Some(Phase::Data) => RecordType::Data,
            Some(Phase::Params | Phase::Complete | Phase::Over) | None => return,
        };
        self.connection.decoder.next_contents(id, kind, input, take);
    }

    /// Says that `FCGI_END_REQUEST` was sent: the id is free again, and what still comes for it is skipped.
    pub fn end(&mut self, id: u16) {
        for place in &mut self.requests {
            if place.is_some_and(|request| request.id == id) {
                *place = None;
            }
        }
    }

    /// Whether the connection is to be closed now: a request came without `FCGI_KEEP_CONN`, and none is active.
    pub fn is_over(&self) -> bool {
        self.connection.closing && self.requests.iter().all(Option::is_none)
    }

    /// Whether the connection is to stay open behind all requests so far: each came with `FCGI_KEEP_CONN`.
    pub const fn is_kept(&self) -> bool {
        !self.connection.closing
    }

    /// Whether request `id` is active: begun and not ended.
    pub fn is_active(&self, id: u16) -> bool {
        is_active(&self.requests, id)
    }

    /// Whether all input streams of the active request `id` are complete. An end of input then is no abort: the
    /// answer is still to be delivered.
    pub fn input_complete(&self, id: u16) -> bool {
        self.requests.iter().flatten().any(|request| request.id == id && matches!(request.phase, Phase::Complete))
    }

    /// Says what the end of the input means here; whether requests were cut short is for
    /// [`input_complete`](Self::input_complete) to tell.
    ///
    /// # Errors
    /// [`ProtocolError::CutHeader`] or [`ProtocolError::CutRecord`] when a record was under way, or the error that
    /// ended the session before.
    pub const fn end_of_input(&self) -> Result<(), ProtocolError> {
        self.connection.decoder.end_of_input()
    }
}

/// The active request of this id.
#[inline]
fn find(requests: &mut [Place], id: u16) -> Option<&mut Request> {
    requests.iter_mut().flatten().find(|request| request.id == id)
}

fn is_active(requests: &[Place], id: u16) -> bool {
    requests.iter().flatten().any(|request| request.id == id)
}

impl Connection {
    #[inline(always)] // Events are taken apart where they are used: an inlined one never goes through memory.
    fn next<'a>(&mut self, requests: &mut [Place], input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        // The usual records first and on their own: half the time goes when they share a path with the others.
        match self.next_whole(requests, input) {
            // The end of what was read, where every caller arrives once a read.
            None if input.is_empty() => self.decoder.on_nothing(),
            None => self.next_of_any(requests, input),
            event => Ok(event),
        }
    }

    /// The next record, if the input holds it whole and it begins a request or belongs to the stream that is open. If not,
    /// nothing has happened.
    #[inline(always)]
    fn next_whole<'a>(&mut self, requests: &mut [Place], input: &mut &'a [u8]) -> Option<Event<'a>> {
        let (Fragment { header, content, .. }, rest) = self.decoder.peek_whole(input)?;
        let event = match find(requests, header.id) {
            Some(request) => request.on_stream(header.kind, content)?,
            None if header.kind == RecordType::BeginRequest && header.id != 0 => {
                self.begin(requests, header.id, content.try_into().ok()?)
            }
            None => return None,
        };
        self.decoder.pass(header);
        *input = rest;
        Some(event)
    }

    #[inline]
    fn next_request<'a>(
        &mut self,
        requests: &mut [Place],
        input: &mut &'a [u8],
        visit: impl FnMut(Pair<'a>),
    ) -> Option<Opening> {
        let (begin, rest) = self.decoder.peek_whole(input)?;
        let id = begin.header.id;
        if begin.header.kind != RecordType::BeginRequest || id == 0 || self.closing || is_active(requests, id) {
            return None;
        }
        let place = requests.iter_mut().find(|place| place.is_none())?;
        let body = BeginRequest::decode(begin.content.try_into().ok()?);
        let role = Role::from_wire(body.role)?;

        // The record behind another, if it is one of this request and type.
        let next = |before: Header, rest: &'a [u8], kind| {
            let (record, rest) = Fragment::split_whole(before.padding, rest)?;
            (record.header.kind == kind && record.header.id == id).then_some((record, rest))
        };
        let (params, behind_params) = next(begin.header, rest, RecordType::Params)?;
        let (end, mut rest) = next(params.header, behind_params, RecordType::Params)?;
        let mut last = end.header;
        let mut scanner = Scanner::new(self.config.max_params_len, self.config.max_pairs);
        let is_well_formed = scanner.check_whole(params.content, visit) == Ok(true);
        if params.content.is_empty() || !end.content.is_empty() || !is_well_formed {
            return None;
        }
        let mut phase = if role == Role::Authorizer { Phase::Complete } else { Phase::Stdin };
        if role == Role::Responder {
            if let Some((stdin, behind)) =
                next(last, rest, RecordType::Stdin).filter(|(stdin, _)| stdin.content.is_empty())
            {
                (phase, last, rest) = (Phase::Complete, stdin.header, behind);
            }
        }

        let params_end = input.len().saturating_sub(behind_params.len());
        let params = params_end.saturating_sub(params.content.len())..params_end;
        *place = Some(Request { id, role, phase, params: scanner });
        self.closing = !body.keep_conn();
        self.decoder.pass(last);
        *input = rest;
        Some(Opening { id, role, keep_conn: body.keep_conn(), params })
    }

    /// The next record, or what is there of it, whatever it is.
    #[inline(never)]
    fn next_of_any<'a>(
        &mut self,
        requests: &mut [Place],
        input: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        while let Some(fragment) = self.decoder.next(input)? {
            match self.on_fragment(requests, fragment) {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(error) => return Err(self.decoder.fail(error)),
            }
        }
        Ok(None)
    }

    fn on_fragment<'a>(
        &mut self,
        requests: &mut [Place],
        fragment: Fragment<'a>,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let Header { kind, id, .. } = fragment.header;
        if id == 0 {
            return self.on_management(requests, fragment);
        }
        if kind == RecordType::BeginRequest {
            return self.on_begin(requests, fragment);
        }
        match find(requests, id) {
            Some(request) => request.on_fragment(fragment),
            None => Ok(None),
        }
    }

    #[inline(never)]
    fn on_management<'a>(
        &mut self,
        requests: &[Place],
        fragment: Fragment<'a>,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        match fragment.header.kind {
            RecordType::GetValues => {
                if fragment.first {
                    self.query = ValuesReader::new();
                }
                self.query.read(fragment.content);
                if !fragment.last {
                    return Ok(None);
                }
                let values = Values {
                    max_conns: Some(self.config.max_conns),
                    max_reqs: Some(self.config.max_reqs),
                    mpxs_conns: Some(requests.len() > 1),
                };
                let cut = ProtocolError::CutValues(fragment.header.content);
                let answer = self.query.answer(&values).ok_or(cut)?;
                Ok(Some(Event::Reply(Reply::Values(answer))))
            }
            // Answers. To answer them would set two applications that got connected talking for ever.
            RecordType::GetValuesResult | RecordType::UnknownType => Ok(None),
            other => {
                let reply = Reply::UnknownType(UnknownType(other.to_wire()));
                Ok(fragment.first.then_some(Event::Reply(reply)))
            }
        }
    }

    #[inline(never)]
    fn on_begin<'a>(
        &mut self,
        requests: &mut [Place],
        fragment: Fragment<'a>,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let id = fragment.header.id;
        if is_active(requests, id) {
            return Err(ProtocolError::DuplicateBegin(id));
        }
        let body = self.begin_body.collect(fragment).map_err(ProtocolError::BeginLength)?;
        Ok(body.map(|body| self.begin(requests, id, &body)))
    }

    /// Gives a request a place, or refuses it.
    fn begin<'a>(&mut self, requests: &mut [Place], id: u16, body: &[u8; 8]) -> Event<'a> {
        let begin = BeginRequest::decode(body);
        let was_closing = self.closing;
        self.closing |= !begin.keep_conn();
        let refuse = |status| Event::Reply(Reply::Refuse { id, status });
        let Some(role) = Role::from_wire(begin.role) else {
            return refuse(ProtocolStatus::UnknownRole);
        };
        let is_single = requests.len() == 1;
        match requests.iter_mut().find(|place| place.is_none()) {
            None if is_single => refuse(ProtocolStatus::CantMpxConn),
            None => refuse(ProtocolStatus::Overloaded),
            Some(_) if was_closing => refuse(ProtocolStatus::Overloaded),
            Some(place) => {
                let params = Scanner::new(self.config.max_params_len, self.config.max_pairs);
                *place = Some(Request { id, role, phase: Phase::Params, params });
                Event::Begin { id, role, keep_conn: begin.keep_conn() }
            }
        }
    }
}

impl Request {
    /// The usual part of the table below: a record goes on with the stream that is open, or ends it. If it does not, or
    /// the params end inside a pair, `None`, and nothing has happened.
    #[inline(always)]
    fn on_stream<'a>(&mut self, kind: RecordType, content: &'a [u8]) -> Option<Event<'a>> {
        use RecordType as Type;
        let id = self.id;
        let is_end = content.is_empty();
        match (self.phase, kind) {
            (Phase::Params, Type::Params) if !is_end => match self.params.check(content) {
                Ok(()) => Some(Event::Params { id, content }),
                Err(limit) => {
                    self.phase = Phase::Over;
                    Some(Event::Oversized { id, limit })
                }
            },
            (Phase::Params, Type::Params) if self.params.at_border() => {
                self.phase = if self.role == Role::Authorizer { Phase::Complete } else { Phase::Stdin };
                Some(Event::ParamsEnd { id })
            }

            (Phase::Stdin, Type::Stdin) if !is_end => Some(Event::Stdin { id, content }),
            (Phase::Stdin, Type::Stdin) => {
                self.phase = if self.role == Role::Filter { Phase::Data } else { Phase::Complete };
                Some(Event::StdinEnd { id })
            }

            (Phase::Data, Type::Data) if !is_end => Some(Event::Data { id, content }),
            (Phase::Data, Type::Data) => {
                self.phase = Phase::Complete;
                Some(Event::DataEnd { id })
            }

            _ => None,
        }
    }

    /// The table: what each type of record means in each phase.
    fn on_fragment<'a>(&mut self, fragment: Fragment<'a>) -> Result<Option<Event<'a>>, ProtocolError> {
        use RecordType as Type;
        let Fragment { header, content, first, .. } = fragment;
        let id = self.id;
        match (self.phase, header.kind) {
            (Phase::Params, Type::Params) | (Phase::Stdin, Type::Stdin) | (Phase::Data, Type::Data) => {
                match self.on_stream(header.kind, content) {
                    None => Err(ProtocolError::CutParams(id)),
                    event => Ok(event),
                }
            }
            (Phase::Params, Type::Stdin) => Err(ProtocolError::EarlyStdin(id)),
            (Phase::Params, Type::Data) => Err(ProtocolError::EarlyData(id)),
            (Phase::Stdin, Type::Data) if self.role == Role::Filter => Err(ProtocolError::EarlyData(id)),

            (Phase::Params | Phase::Stdin | Phase::Data | Phase::Complete, Type::AbortRequest) => {
                self.phase = Phase::Over;
                Ok(Some(Event::Abort { id }))
            }
            (Phase::Over, _) => Ok(None),

            // lighttpd sends an Authorizer an empty STDIN.
            (Phase::Complete, Type::Stdin) if self.role == Role::Authorizer => Ok(None),
            (Phase::Stdin, Type::Data)
            | (Phase::Data | Phase::Complete, Type::Stdin)
            | (Phase::Complete, Type::Data)
            | (Phase::Stdin | Phase::Data | Phase::Complete, Type::Params)
            | (
                Phase::Params | Phase::Stdin | Phase::Data | Phase::Complete,
                Type::BeginRequest
                | Type::EndRequest
                | Type::Stdout
                | Type::Stderr
                | Type::GetValues
                | Type::GetValuesResult
                | Type::UnknownType
                | Type::Other(_),
            ) => Ok(first.then_some(Event::Skipped { header })),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;
    use std::{format, vec};

    const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0";
    const PARAMS: &[u8] = b"\x01\x04\0\x01\0\x05\x03\0\x01\x02abcPAD";
    const PARAMS_END: &[u8] = b"\x01\x04\0\x01\0\0\0\0";
    const STDIN: &[u8] = b"\x01\x05\0\x01\0\x04\0\0body";
    const STDIN_END: &[u8] = b"\x01\x05\0\x01\0\0\0\0";
    const DATA: &[u8] = b"\x01\x08\0\x01\0\x02\0\0da";
    const DATA_END: &[u8] = b"\x01\x08\0\x01\0\0\0\0";
    const ABORT: &[u8] = b"\x01\x02\0\x01\0\0\0\0";

    fn begin(id: u8, role: u8, flags: u8) -> Vec<u8> {
        vec![1, 1, 0, id, 0, 8, 0, 0, 0, role, flags, 0, 0, 0, 0, 0]
    }

    /// What happened, one word an event, the pieces of a stream joined. `at_once` takes requests whole if they are, and
    /// pieces of bodies as many at a time.
    fn run<const N: usize>(session: &mut Session<N>, mut input: &[u8], log: &mut Vec<String>, at_once: bool) {
        loop {
            let before = input;
            if let Some(Opening { id, role, keep_conn, params }) =
                at_once.then(|| session.next_request(&mut input, |_| ())).flatten()
            {
                log.push(format!("begin {id} {role:?} {keep_conn}"));
                log.push(format!("params {id} {}", before[params].escape_ascii()));
                log.push(format!("params-end {id}"));
                if role == Role::Responder && session.input_complete(id) {
                    log.push(format!("stdin-end {id}"));
                }
                continue;
            }
            for id in (1..=3).filter(|_| at_once) {
                let before = input;
                let is_data =
                    find(&mut session.requests, id).is_some_and(|request| matches!(request.phase, Phase::Data));
                session.next_contents(id, &mut input, |content| {
                    add(log, format!("{} {id} ", if is_data { "data" } else { "stdin" }), &before[content]);
                    true
                });
            }
            let (name, content) = match session.next(&mut input) {
                Ok(None) => return,
                Err(error) => return log.push(format!("{error:?}")),
                Ok(Some(Event::Params { id, content })) => (format!("params {id} "), content),
                Ok(Some(Event::Stdin { id, content })) => (format!("stdin {id} "), content),
                Ok(Some(Event::Data { id, content })) => (format!("data {id} "), content),
                Ok(Some(Event::ParamsEnd { id })) => (format!("params-end {id}"), &[][..]),
                Ok(Some(Event::StdinEnd { id })) => (format!("stdin-end {id}"), &[][..]),
                Ok(Some(Event::DataEnd { id })) => (format!("data-end {id}"), &[][..]),
                Ok(Some(Event::Begin { id, role, keep_conn })) => (format!("begin {id} {role:?} {keep_conn}"), &[][..]),
                Ok(Some(Event::Abort { id })) => (format!("abort {id}"), &[][..]),
                Ok(Some(Event::Oversized { id, limit })) => (format!("oversized {id} {limit:?}"), &[][..]),
                Ok(Some(Event::Skipped { header })) => (format!("skipped {}", header.kind.to_wire()), &[][..]),
                Ok(Some(Event::Reply(reply))) => {
                    let mut out = [0; Reply::MAX_LEN];
                    (format!("reply {:?}", reply.encode(&mut out)), &[][..])
                }
            };
            add(log, name, content);
        }
    }

    /// Adds a piece of a stream to those before it.
    fn add(log: &mut Vec<String>, name: String, content: &[u8]) {
        let content = content.escape_ascii().to_string();
        match log.last_mut() {
            Some(last) if !content.is_empty() && last.starts_with(&name) => last.push_str(&content),
            _ => log.push(name + &content),
        }
    }

    /// Checks what a session makes of `wire`, whole, at every cut (Miri would take hours: at some), and byte by byte.
    #[track_caller]
    fn check_with<const N: usize>(config: Config, wire: &[&[u8]], want: &[&str]) {
        let wire = wire.concat();
        for at_once in [false, true] {
            for cut in (0..=wire.len()).step_by(if cfg!(miri) { 11 } else { 1 }) {
                let (mut session, mut log) = (Session::<N>::new(config), Vec::new());
                run(&mut session, &wire[..cut], &mut log, at_once);
                if !is_broken(&log) {
                    run(&mut session, &wire[cut..], &mut log, at_once);
                }
                assert_eq!(log, want, "cut at {cut}, at once: {at_once}");
            }
        }
        let (mut session, mut log) = (Session::<N>::new(config), Vec::new());
        for byte in wire.chunks(1) {
            if !is_broken(&log) {
                run(&mut session, byte, &mut log, false);
            }
        }
        assert_eq!(log, want, "byte by byte");
    }

    /// Whether the last entry is an error: only they begin with a capital letter.
    fn is_broken(log: &[String]) -> bool {
        log.last().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
    }

    #[track_caller]
    fn check(wire: &[&[u8]], want: &[&str]) {
        check_with::<1>(Config::default(), wire, want);
    }

    #[test]
    fn a_responder() {
        check(
            &[BEGIN, PARAMS, PARAMS_END, STDIN, STDIN, STDIN_END],
            &["begin 1 Responder true", "params 1 \\x01\\x02abc", "params-end 1", "stdin 1 bodybody", "stdin-end 1"],
        );
    }

    #[test]
    fn an_authorizer_has_no_body() {
        check(
            &[&begin(1, 2, 0), PARAMS_END, STDIN_END, STDIN, DATA],
            &["begin 1 Authorizer false", "params-end 1", "skipped 8"],
        );
    }

    #[test]
    fn a_filter() {
        check(
            &[&begin(1, 3, 1), PARAMS_END, STDIN, STDIN_END, DATA, DATA_END],
            &["begin 1 Filter true", "params-end 1", "stdin 1 body", "stdin-end 1", "data 1 da", "data-end 1"],
        );
        check(&[&begin(1, 3, 1), PARAMS_END, DATA], &["begin 1 Filter true", "params-end 1", "EarlyData(1)"]);
    }

    #[test]
    fn params_cut_between_records() {
        let cut = b"\x01\x04\0\x01\0\x01\0\0\x01\x01\x04\0\x01\0\x02\0\0\x02a\x01\x04\0\x01\0\x02\0\0bc";
        check(&[BEGIN, cut, PARAMS_END], &["begin 1 Responder true", "params 1 \\x01\\x02abc", "params-end 1"]);
        let short = b"\x01\x04\0\x01\0\x04\0\0\x01\x02ab";
        check(&[BEGIN, short, PARAMS_END], &["begin 1 Responder true", "params 1 \\x01\\x02ab", "CutParams(1)"]);
    }

    #[test]
    fn order_of_streams() {
        check(&[BEGIN, STDIN], &["begin 1 Responder true", "EarlyStdin(1)"]);
        check(&[BEGIN, DATA], &["begin 1 Responder true", "EarlyData(1)"]);
        check(
            &[BEGIN, PARAMS_END, PARAMS, DATA, STDIN_END, STDIN, PARAMS_END],
            &[
                "begin 1 Responder true",
                "params-end 1",
                "skipped 4",
                "skipped 8",
                "stdin-end 1",
                "skipped 5",
                "skipped 4",
            ],
        );
    }

    #[test]
    fn malformed_begins() {
        check(&[b"\x01\x01\0\x01\0\x07\0\0\0\x01\x01\0\0\0\0"], &["BeginLength(7)"]);
        check(&[b"\x01\x01\0\x01\0\0\0\0"], &["BeginLength(0)"]);
        check(&[BEGIN, BEGIN], &["begin 1 Responder true", "DuplicateBegin(1)"]);
        check(
            &[BEGIN, PARAMS_END, STDIN_END, BEGIN],
            &["begin 1 Responder true", "params-end 1", "stdin-end 1", "DuplicateBegin(1)"],
        );
    }

    #[test]
    fn refusals() {
        check(&[&begin(1, 4, 1), PARAMS], &["reply [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]"]);
        check(
            &[BEGIN, &begin(2, 1, 1), PARAMS_END],
            &["begin 1 Responder true", "reply [1, 3, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]", "params-end 1"],
        );
        check_with::<2>(
            Config::default(),
            &[BEGIN, &begin(2, 1, 1), &begin(3, 1, 1), PARAMS_END],
            &[
                "begin 1 Responder true",
                "begin 2 Responder true",
                "reply [1, 3, 0, 3, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]",
                "params-end 1",
            ],
        );
    }

    #[test]
    fn abort() {
        check(&[BEGIN, ABORT, PARAMS, ABORT], &["begin 1 Responder true", "abort 1"]);
        check(
            &[BEGIN, PARAMS_END, STDIN, b"\x01\x02\0\x01\0\x03\0\0xyz", STDIN, STDIN_END],
            &["begin 1 Responder true", "params-end 1", "stdin 1 body", "abort 1"],
        );
        check(&[ABORT, BEGIN], &["begin 1 Responder true"]);
    }

    #[test]
    fn records_of_nobody_are_skipped() {
        check(&[STDIN, PARAMS, PARAMS_END, b"\x01\x63\0\x07\0\x01\x01\0xx", BEGIN], &["begin 1 Responder true"]);
    }

    #[test]
    fn types_out_of_place_are_skipped() {
        for kind in [0, 3, 6, 7, 9, 10, 11, 12, 255] {
            let record = [1, kind, 0, 1, 0, 2, 0, 0, b'x', b'y'];
            check(
                &[BEGIN, &record, PARAMS_END],
                &["begin 1 Responder true", &format!("skipped {kind}"), "params-end 1"],
            );
        }
    }

    #[test]
    fn management_records() {
        for kind in [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 255] {
            let record = [1, kind, 0, 0, 0, 2, 0, 0, b'x', b'y'];
            let reply = format!("reply [1, 11, 0, 0, 0, 8, 0, 0, {kind}, 0, 0, 0, 0, 0, 0, 0]");
            check(&[&record, BEGIN], &[&reply, "begin 1 Responder true"]);
        }
        for kind in [10, 11] {
            check(&[&[1, kind, 0, 0, 0, 1, 0, 0, 0], BEGIN], &["begin 1 Responder true"]);
        }
        let config = Config { max_reqs: 7, ..Config::default() };
        let query = b"\x01\x09\0\0\0\x0f\x01\0\x0d\0FCGI_MAX_REQSP";
        check_with::<1>(
            config,
            &[BEGIN, query, PARAMS_END],
            &[
                "begin 1 Responder true",
                "reply [1, 10, 0, 0, 0, 16, 0, 0, 13, 1, 70, 67, 71, 73, 95, 77, 65, 88, 95, 82, 69, 81, 83, 55]",
                "params-end 1",
            ],
        );
        check(&[b"\x01\x09\0\0\0\x02\0\0\x02\x01"], &["CutValues(2)"]);
    }

    #[test]
    fn limits_of_params() {
        let config = Config { max_params_len: 5, max_pairs: 1, ..Config::default() };
        check_with::<1>(
            config,
            &[BEGIN, PARAMS, PARAMS_END],
            &["begin 1 Responder true", "params 1 \\x01\\x02abc", "params-end 1"],
        );
        let config = Config { max_params_len: 4, ..config };
        let (mut session, mut log) = (Session::<1>::new(config), Vec::new());
        run(&mut session, &[BEGIN, PARAMS, PARAMS, PARAMS_END, STDIN, ABORT].concat(), &mut log, false);
        assert_eq!(log, ["begin 1 Responder true", "oversized 1 ParamsLen"]);
        let config = Config { max_params_len: 100, ..config };
        let (mut session, mut log) = (Session::<1>::new(config), Vec::new());
        run(&mut session, &[BEGIN, PARAMS, PARAMS, PARAMS_END, STDIN].concat(), &mut log, false);
        assert_eq!(log, ["begin 1 Responder true", "params 1 \\x01\\x02abc", "oversized 1 Pairs"]);
    }

    #[test]
    fn an_id_is_free_after_its_end_and_a_kept_connection_goes_on() {
        let (mut session, mut log) = (Session::<1>::new(Config::default()), Vec::new());
        run(&mut session, &[BEGIN, PARAMS_END, STDIN].concat(), &mut log, false);
        assert!(session.is_active(1) && !session.input_complete(1));
        run(&mut session, STDIN_END, &mut log, false);
        assert!(session.input_complete(1));
        session.end(1);
        assert!(!session.is_active(1) && !session.is_over() && session.is_kept());
        log.clear();
        run(&mut session, &[STDIN, ABORT, STDIN_END, &begin(1, 1, 0)].concat(), &mut log, false);
        assert_eq!(log, ["begin 1 Responder false"]);
        assert!(!session.is_over() && !session.is_kept());
        session.end(1);
        assert!(session.is_over());
        assert_eq!(session.end_of_input(), Ok(()));
    }

    #[test]
    fn after_a_request_without_keep_conn_no_other_begins() {
        check_with::<3>(
            Config::default(),
            &[BEGIN, &begin(2, 1, 0), &begin(3, 1, 1), PARAMS_END],
            &[
                "begin 1 Responder true",
                "begin 2 Responder false",
                "reply [1, 3, 0, 3, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]",
                "params-end 1",
            ],
        );
    }

    #[test]
    fn whole_records_of_the_open_stream_take_the_short_path() {
        let mut session = Session::<1>::new(Config::default());
        let records = [&begin(1, 3, 1), PARAMS, PARAMS_END, STDIN, STDIN_END, DATA, DATA_END];
        let wire = records.concat();
        let mut input = &wire[..];
        for _ in records {
            let (mut plain, mut same) = (session.clone(), input);
            let event = session.connection.next_whole(&mut session.requests, &mut input);
            assert!(event.is_some(), "at {}", input.escape_ascii());
            assert_eq!(plain.connection.next_of_any(&mut plain.requests, &mut same), Ok(event));
        }
        assert_eq!(input, b"");
        for wire in [BEGIN, &begin(0, 1, 1), PARAMS, STDIN, DATA, ABORT, &STDIN[..11]] {
            let mut input = wire;
            assert_eq!(session.connection.next_whole(&mut session.requests, &mut input), None);
            assert_eq!(input, wire);
        }
    }
}
