use std::ops::Range;

use super::wire::{Cuts, Part, Wire, assert_borrowed, length, record, split_pairs, values_record};
use fcgi_proto::{
    Config, Event, Header, Limit, Opening, Params, ProtocolError, ProtocolStatus, RecordType as Type, Reply, Role,
    Session, UnknownType, Values,
};

/// `Session`: any stream, cut anywhere, while the application ends requests at any time.
///
/// Three bytes choose limits and cuts, the others are the stream or a [`Script`] of it. The events, replies and
/// errors are those of the [`Model`], which are P14 to P33 of the project's requirements, and so is what the session
/// says of itself between them. The model also tells which requests and which pieces of bodies are taken at once.
pub fn session(data: &[u8]) {
    let Some((&[choice, cut1, cut2], data)) = data.split_first_chunk() else { return };
    let choose = |values: [u32; 4], bit: u8| values[usize::from(choice >> bit & 3)];
    let config = Config {
        max_params_len: choose([1 << 20, 300, 20, 0], 0),
        max_pairs: choose([16384, 20, 2, 0], 2),
        max_conns: choose([1, 256, u32::MAX, 0], 0),
        max_reqs: choose([1, 99, 1_000_000_000, 10], 2),
    };
    // Whether the application ends each request as soon as it can.
    let eager = choice & 0x10 != 0;
    let script = if choice & 0x20 != 0 { Script::read(data) } else { Script { stream: data.to_vec(), ends: vec![] } };
    for at_once in [false, true] {
        if choice & 0x40 != 0 {
            Run::<2>::new(config, eager, at_once).all(&script, Cuts([cut1, cut2]));
        } else {
            Run::<1>::new(config, eager, at_once).all(&script, Cuts([cut1, cut2]));
        }
    }
}

/// A stream that is more often meaningful than random bytes are, and when the application ends which request.
#[derive(Default)]
struct Script {
    stream: Vec<u8>,
    /// After so many bytes of the stream, in rising order, the request of this id.
    ends: Vec<(usize, u16)>,
}

impl Script {
    fn read(data: &[u8]) -> Self {
        let mut script = Self::default();
        let mut data = data.iter().copied();
        while let Some(op) = data.next() {
            if script.stream.len() > 2048 {
                break;
            }
            let id = [1, 2, 0x0100, 0][usize::from(op >> 6)];
            let mut argument = || data.next().unwrap_or_default();
            match op & 0x0f {
                12 => {
                    let (role, flags) = (argument(), argument());
                    script.stream.extend(record(1, id, &[role >> 7, role & 0x7f, flags, 0, 0, 0, 0, 0xff]));
                }
                13 => {
                    // At the end of the last record, or before it.
                    let at = script.stream.len().saturating_sub(usize::from(argument()));
                    script.ends.push((at.max(script.ends.last().map_or(0, |&(at, _)| at)), id));
                }
                14 => {
                    let len = argument();
                    script.stream.extend(data.by_ref().take(usize::from(len)));
                }
                kind => {
                    let kind = if kind == 15 { argument() } else { kind };
                    let padding = if op & 0x20 != 0 { argument() } else { 0 };
                    let len = if op & 0x10 != 0 { argument() } else { 0 };
                    let content: Vec<u8> = match len {
                        // All the same, and more than a script can say.
                        200.. => vec![argument(); usize::from(len - 200) * 16],
                        len => data.by_ref().take(usize::from(len)).collect(),
                    };
                    let start = script.stream.len();
                    script.stream.extend(record(kind, id, &content));
                    script.stream[start + 6] = padding;
                    script.stream.resize(script.stream.len() + usize::from(padding), 0xee);
                }
            }
        }
        script
    }
}

/// A session and its model, which see the same.
struct Run<const REQUESTS: usize> {
    session: Session<REQUESTS>,
    model: Model,
    eager: bool,
    /// Whether requests and bodies are taken at once, as far as they can be.
    at_once: bool,
    /// What the events gave of each request's params.
    params: Vec<(u16, Vec<u8>)>,
}

impl<const REQUESTS: usize> Run<REQUESTS> {
    fn new(config: Config, eager: bool, at_once: bool) -> Self {
        Self { session: Session::new(config), model: Model::new(REQUESTS, config), eager, at_once, params: Vec::new() }
    }

    fn all(mut self, script: &Script, cuts: Cuts) {
        let mut done = 0;
        for &(at, id) in &script.ends {
            if !self.feed(&script.stream[done..at], cuts) {
                return;
            }
            done = at;
            self.end(id);
        }
        self.feed(&script.stream[done..], cuts);
    }

    /// Whether the session is still of use.
    fn feed(&mut self, stream: &[u8], cuts: Cuts) -> bool {
        for mut input in cuts.pieces(stream) {
            loop {
                if self.at_once {
                    self.take_contents(&mut input);
                    if self.take_request(&mut input) {
                        continue;
                    }
                }
                let before = input;
                let got = self.session.next(&mut input);
                let want = self.model.expect(&before[..before.len() - input.len()]);
                assert_eq!(got, want);
                match (got, want) {
                    (Ok(Some(got)), Ok(Some(want))) => {
                        assert_borrowed(content(got), content(want));
                        self.compare();
                        self.on_event(got);
                    }
                    (Err(error), _) => {
                        assert_eq!(self.session.next(&mut input), Err(error));
                        assert_eq!(self.session.end_of_input(), Err(error));
                        return false;
                    }
                    _ => break assert!(input.is_empty()),
                }
            }
            self.compare();
        }
        true
    }

    /// Takes a request at once exactly when the model does; the model then gives its events one after the other.
    fn take_request(&mut self, input: &mut &[u8]) -> bool {
        let (before, mut pairs) = (*input, Vec::new());
        let want = self.model.opening(before);
        let got = self.session.next_request(input, |pair| pairs.push((pair.name, pair.value)));
        let Some((opening, records)) = want else {
            assert_eq!(got, None);
            assert!(std::ptr::eq(*input, before), "nothing has happened");
            self.compare();
            return false;
        };
        assert_eq!(pairs, split_pairs(&before[opening.params.clone()]).0);
        assert_eq!(got, Some(opening));
        let used = records.last().map_or(0, |last| last.end);
        assert_eq!(before.len() - input.len(), used);
        let events: Vec<_> = records.into_iter().map(|record| self.model.expect(&before[record])).collect();
        self.compare();
        for event in events {
            match event {
                Ok(Some(event)) => self.on_event(event),
                other => panic!("{other:?} in an opening"),
            }
        }
        true
    }

    /// Takes pieces of bodies at once, three at most: exactly those of the model.
    fn take_contents(&mut self, input: &mut &[u8]) {
        for id in [1, 2, 0x0100, 0] {
            let (before, mut pieces) = (*input, Vec::new());
            let want = self.model.contents(id, before, 3);
            self.session.next_contents(id, input, |piece| {
                pieces.push(piece);
                pieces.len() < 3
            });
            assert_eq!(pieces, want);
            let mut used = 0;
            for piece in pieces {
                let content = &before[piece.clone()];
                match self.model.expect(&before[used..piece.end]) {
                    Ok(Some(Event::Stdin { id: of, content: want } | Event::Data { id: of, content: want })) => {
                        assert_eq!((of, content), (id, want));
                        assert_borrowed(content, want);
                    }
                    other => panic!("{content:?} of {id} is {other:?}"),
                }
                used = piece.end;
            }
            assert_eq!(before.len() - input.len(), used);
            self.compare();
        }
    }

    fn on_event(&mut self, event: Event<'_>) {
        match event {
            Event::Params { id, content } => match self.params.iter_mut().find(|(of, _)| *of == id) {
                Some((_, joined)) => joined.extend_from_slice(content),
                None => self.params.push((id, content.to_vec())),
            },
            Event::ParamsEnd { id } => {
                let joined = self.params.iter().find(|(of, _)| *of == id).map_or(&[][..], |(_, joined)| joined);
                let (pairs, rest) = split_pairs(joined);
                assert_eq!(rest, b"", "the params are well formed");
                assert!(joined.len() as u64 <= self.model.config.max_params_len.into());
                assert!(pairs.len() as u64 <= self.model.config.max_pairs.into());
                assert!(Params::new(joined).iter().map(|pair| (pair.name, pair.value)).eq(pairs));
                assert_eq!(Some(joined), self.model.request(id).map(|request| &request.params[..]));
                if self.model.is_complete(id) && self.eager {
                    self.end(id);
                }
            }
            Event::StdinEnd { id } if !self.model.is_complete(id) => {}
            Event::StdinEnd { id } | Event::DataEnd { id } | Event::Abort { id } | Event::Oversized { id, .. } => {
                if self.eager {
                    self.end(id);
                }
            }
            Event::Reply(reply) => {
                assert_eq!(reply.encode(&mut [0xaa; Reply::MAX_LEN]), encode(reply));
            }
            Event::Begin { .. } | Event::Stdin { .. } | Event::Data { .. } | Event::Skipped { .. } => {}
        }
    }

    fn end(&mut self, id: u16) {
        self.session.end(id);
        self.model.active.retain(|request| request.id != id);
        self.params.retain(|(of, _)| *of != id);
        self.compare();
    }

    fn compare(&self) {
        let active = self.model.active.iter().map(|request| request.id);
        for id in active.chain([0, 1, 2, 3, 0x0100]) {
            assert_eq!(self.session.is_active(id), self.model.request(id).is_some());
            assert_eq!(self.session.input_complete(id), self.model.is_complete(id));
        }
        assert_eq!(self.session.is_over(), self.model.closing && self.model.active.is_empty());
        assert_eq!(self.session.end_of_input(), self.model.wire.end_of_input());
    }
}

fn content(event: Event<'_>) -> &[u8] {
    match event {
        Event::Params { content, .. } | Event::Stdin { content, .. } | Event::Data { content, .. } => content,
        _ => &[],
    }
}

fn encode(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Refuse { id, status } => record(3, id, &[0, 0, 0, 0, status.to_wire(), 0, 0, 0]),
        Reply::UnknownType(UnknownType(kind)) => record(11, 0, &[kind, 0, 0, 0, 0, 0, 0, 0]),
        Reply::Values(values) => values_record(&values),
    }
}

/// What a session has to be.
#[derive(Clone)]
struct Model {
    config: Config,
    places: usize,
    wire: Wire,
    /// The content so far of the record being read.
    body: Vec<u8>,
    active: Vec<Request>,
    /// A request without `FCGI_KEEP_CONN` came.
    closing: bool,
}

#[derive(Clone)]
struct Request {
    id: u16,
    role: Role,
    stage: Stage,
    params: Vec<u8>,
    /// Where in them the last pair begins.
    pair: usize,
    pairs: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Params,
    Stdin,
    Data,
    /// All its input came.
    Complete,
    /// It was aborted or too large: nothing more is said of it.
    Over,
}

impl Model {
    fn new(places: usize, config: Config) -> Self {
        Self { config, places, wire: Wire::new(), body: Vec::new(), active: Vec::new(), closing: false }
    }

    fn request(&self, id: u16) -> Option<&Request> {
        self.active.iter().find(|request| request.id == id)
    }

    fn is_complete(&self, id: u16) -> bool {
        self.request(id).is_some_and(|request| request.stage == Stage::Complete)
    }

    /// The request that `next_request` has to take off the front of `input`, and where its records are: whole, the params
    /// in one, the empty STDIN of a Responder with them if it is there.
    fn opening(&self, input: &[u8]) -> Option<(Opening, Vec<Range<usize>>)> {
        let (mut model, mut records) = (self.clone(), Vec::<Range<usize>>::new());
        let mut next = || {
            let start = records.last().map_or(0, |last| last.end);
            let end = start + model.wire.whole_record(&input[start..])?;
            let event = model.expect(&input[start..end]).ok()??;
            records.push(start..end);
            Some((event, end))
        };
        let (Event::Begin { id, role, keep_conn }, _) = next()? else { return None };
        let (Event::Params { id: of_params, content }, end) = next()? else { return None };
        let (Event::ParamsEnd { id: of_end }, _) = next()? else { return None };
        if (of_params, of_end) != (id, id) {
            return None;
        }
        let stdin_end = (role == Role::Responder).then(&mut next).flatten();
        if stdin_end.is_some_and(|(event, _)| event != Event::StdinEnd { id }) {
            records.pop();
        }
        Some((Opening { id, role, keep_conn, params: end - content.len()..end }, records))
    }

    /// The pieces, `most` at most, that `next_contents` has to take off the front of `input`: those of the open stream, up
    /// to any other record or a cut header.
    fn contents(&self, id: u16, input: &[u8], most: usize) -> Vec<Range<usize>> {
        let kind = match self.request(id).map(|request| request.stage) {
            Some(Stage::Stdin) => Type::Stdin,
            Some(Stage::Data) => Type::Data,
            Some(Stage::Params | Stage::Complete | Stage::Over) | None => return Vec::new(),
        };
        let (mut wire, mut pieces, mut start) = (self.wire.clone(), Vec::new(), None);
        if wire.is_in_header() {
            return pieces;
        }
        for (at, &byte) in input.iter().enumerate() {
            match wire.read(byte) {
                Ok(Part::Between) => {}
                Ok(Part::Content { header, last, .. }) if (header.id, header.kind) == (id, kind) => {
                    let first = *start.get_or_insert(at);
                    if last || at + 1 == input.len() {
                        pieces.push(first..at + 1);
                        start = None;
                    }
                }
                Ok(Part::Content { .. } | Part::Empty(_)) | Err(_) => break,
            }
            if pieces.len() == most {
                break;
            }
        }
        pieces
    }

    /// What a call that consumed `used` has to give.
    fn expect<'a>(&mut self, used: &'a [u8]) -> Result<Option<Event<'a>>, ProtocolError> {
        let (mut want, mut start) = (None, 0);
        for (at, &byte) in used.iter().enumerate() {
            let event = self.read(byte).inspect_err(|error| assert_eq!(want, None, "swallowed before {error}"))?;
            let Some(event) = event else { continue };
            if want.is_none() {
                start = at;
            }
            let content = &used[start..=at];
            want = Some(match (want, event) {
                (None | Some(Event::Params { .. }), Event::Params { id, .. }) => Event::Params { id, content },
                (None | Some(Event::Stdin { .. }), Event::Stdin { id, .. }) => Event::Stdin { id, content },
                (None | Some(Event::Data { .. }), Event::Data { id, .. }) => Event::Data { id, content },
                // A piece that goes over a limit is not handed out, not even what of it was within; and of two
                // limits it goes over, the bytes are the one to name.
                (None | Some(Event::Params { .. }), Event::Oversized { id, limit }) => {
                    let len = self.request(id).map_or(0, |request| request.params.len()) + used.len() - at;
                    let too_long = len as u64 > self.config.max_params_len.into();
                    Event::Oversized { id, limit: if too_long { Limit::ParamsLen } else { limit } }
                }
                (None, event) => event,
                (Some(first), second) => panic!("one call consumed both {first:?} and {second:?}"),
            });
        }
        Ok(want)
    }

    /// What one more byte means; that of a stream gives a piece of it, without its content.
    fn read(&mut self, byte: u8) -> Result<Option<Event<'static>>, ProtocolError> {
        let (header, first, last, byte) = match self.wire.read(byte)? {
            Part::Between => return Ok(None),
            Part::Empty(header) => (header, true, true, None),
            Part::Content { header, first, last } => (header, first, last, Some(byte)),
        };
        if first {
            self.body.clear();
        }
        self.body.extend(byte);
        match (header.id, header.kind) {
            (0, Type::GetValues) if last => self.get_values(header).map(Some), // P28
            (0, Type::GetValues | Type::GetValuesResult | Type::UnknownType) => Ok(None), // P33
            (0, kind) if first => Ok(Some(Event::Reply(Reply::UnknownType(UnknownType(kind.to_wire()))))), // P18, P33
            (0, _) => Ok(None),
            (_, Type::BeginRequest) => self.begin(header, last),
            (id, _) => match self.active.iter_mut().find(|request| request.id == id) {
                Some(request) => request.read(header, first, byte, &self.config),
                None => Ok(None), // P17
            },
        }
    }

    fn get_values(&self, header: Header) -> Result<Event<'static>, ProtocolError> {
        let (pairs, rest) = split_pairs(&self.body);
        if !rest.is_empty() {
            return Err(ProtocolError::CutValues(header.content)); // P32
        }
        let asked = |wanted: &str| pairs.iter().any(|(name, _)| *name == wanted.as_bytes());
        Ok(Event::Reply(Reply::Values(Values {
            max_conns: asked("FCGI_MAX_CONNS").then_some(self.config.max_conns),
            max_reqs: asked("FCGI_MAX_REQS").then_some(self.config.max_reqs),
            mpxs_conns: asked("FCGI_MPXS_CONNS").then_some(self.places > 1),
        })))
    }

    fn begin(&mut self, header: Header, last: bool) -> Result<Option<Event<'static>>, ProtocolError> {
        let id = header.id;
        if self.request(id).is_some() {
            return Err(ProtocolError::DuplicateBegin(id)); // P16
        }
        if header.content != 8 {
            return Err(ProtocolError::BeginLength(header.content)); // P15
        }
        if !last {
            return Ok(None);
        }
        let was_closing = self.closing;
        let keep_conn = self.body[2] % 2 == 1; // P19
        self.closing |= !keep_conn;
        let refuse = |status| Ok(Some(Event::Reply(Reply::Refuse { id, status })));
        let role = match self.body[..2] {
            [0, 1] => Role::Responder,
            [0, 2] => Role::Authorizer,
            [0, 3] => Role::Filter,
            _ => return refuse(ProtocolStatus::UnknownRole), // P23
        };
        if self.active.len() == self.places {
            return refuse(match self.places {
                1 => ProtocolStatus::CantMpxConn, // P53
                _ => ProtocolStatus::Overloaded,  // P54
            });
        }
        if was_closing {
            return refuse(ProtocolStatus::Overloaded); // P21
        }
        self.active.push(Request { id, role, stage: Stage::Params, params: Vec::new(), pair: 0, pairs: 0 });
        Ok(Some(Event::Begin { id, role, keep_conn }))
    }
}

impl Request {
    /// What a byte of a record of this request means, or the record itself when there is none.
    fn read(
        &mut self,
        header: Header,
        first: bool,
        byte: Option<u8>,
        config: &Config,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        let (id, content) = (self.id, &[]);
        let (stage, event) = match (&self.stage, header.kind, byte) {
            (Stage::Over, _, _) => return Ok(None),
            (_, Type::AbortRequest, _) => (Stage::Over, Event::Abort { id }), // P48
            (Stage::Params, Type::Params, Some(byte)) => match self.grow(byte, config) {
                Ok(()) => (Stage::Params, Event::Params { id, content }),
                Err(limit) => (Stage::Over, Event::Oversized { id, limit }),
            },
            (Stage::Params, Type::Params, None) => match (split_pairs(&self.params).1, self.role) {
                ([], Role::Authorizer) => (Stage::Complete, Event::ParamsEnd { id }), // P37
                ([], Role::Responder | Role::Filter) => (Stage::Stdin, Event::ParamsEnd { id }),
                _ => return Err(ProtocolError::CutParams(id)), // P13
            },
            (Stage::Params, Type::Stdin, _) => return Err(ProtocolError::EarlyStdin(id)), // P25
            (Stage::Params, Type::Data, _) => return Err(ProtocolError::EarlyData(id)),
            (Stage::Stdin, Type::Stdin, Some(_)) => (Stage::Stdin, Event::Stdin { id, content }),
            (Stage::Stdin, Type::Stdin, None) => match self.role {
                Role::Filter => (Stage::Data, Event::StdinEnd { id }), // P38
                _ => (Stage::Complete, Event::StdinEnd { id }),
            },
            (Stage::Stdin, Type::Data, _) if self.role == Role::Filter => return Err(ProtocolError::EarlyData(id)),
            (Stage::Data, Type::Data, Some(_)) => (Stage::Data, Event::Data { id, content }),
            (Stage::Data, Type::Data, None) => (Stage::Complete, Event::DataEnd { id }),
            (Stage::Complete, Type::Stdin, _) if self.role == Role::Authorizer => return Ok(None), // P27
            _ => return Ok(first.then_some(Event::Skipped { header })),                            // P24, P26
        };
        self.stage = stage;
        Ok(Some(event))
    }

    /// One more byte of params, unless that or what it declares goes over a limit.
    fn grow(&mut self, byte: u8, config: &Config) -> Result<(), Limit> {
        let over = |len: u64| len > config.max_params_len.into();
        if over(self.params.len() as u64 + 1) {
            return Err(Limit::ParamsLen);
        }
        if self.pair == self.params.len() {
            self.pairs += 1;
            if self.pairs > config.max_pairs {
                return Err(Limit::Pairs);
            }
        }
        self.params.push(byte);
        let pair = &self.params[self.pair..];
        let name = length(pair);
        let value = name.and_then(|(_, used)| length(&pair[used..]));
        let lengths = match (name, value) {
            (Some((_, name_used)), Some((_, value_used))) => name_used + value_used,
            _ => pair.len(),
        };
        // Where the pair ends, or at least goes.
        let declared = |length: Option<(usize, usize)>| length.map_or(0, |(len, _)| len as u64);
        let end = (self.pair + lengths) as u64 + declared(name) + declared(value);
        if over(end) {
            return Err(Limit::ParamsLen);
        }
        if value.is_some() && end == self.params.len() as u64 {
            self.pair = self.params.len();
        }
        Ok(())
    }
}
