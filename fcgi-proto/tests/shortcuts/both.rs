//! Two sessions over the same bytes, one with shortcuts and one without.

use fcgi_proto::{Config, Event, Opening, Params, ProtocolError, Role, Session};

/// A session that uses the shortcuts, and one that reads the same bytes with `next`.
pub(crate) struct Both<const N: usize> {
    setup: Setup,
    fast: Session<N>,
    plain: Session<N>,
    log: Log,
    /// Requests that `next_request` took.
    pub(crate) requests: usize,
    /// Pieces of bodies that `next_contents` took.
    pub(crate) pieces: usize,
}

/// What stays the same in all runs over a stream.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// Whether the application ends each request as soon as it can.
    pub(crate) ends_requests: bool,
    /// How many pieces of a body the caller takes at a time.
    pub(crate) room: usize,
}

/// The request ids of these tests.
pub(crate) const IDS: [u16; 5] = [1, 2, 0x0100, 0xffff, 0];

impl<const N: usize> Both<N> {
    pub(crate) fn new(setup: Setup) -> Self {
        let (fast, plain) = (Session::new(setup.config), Session::new(setup.config));
        Self { setup, fast, plain, log: Log::default(), requests: 0, pieces: 0 }
    }

    /// Reads a stream in pieces of these sizes, and checks after each step that both sessions agree.
    pub(crate) fn feed(
        &mut self,
        stream: &Stream,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Result<(), ProtocolError> {
        for (mut input, ended) in stream.pieces(sizes) {
            while self.take_request(&mut input) || self.take_contents(&mut input) || self.take_event(&mut input)? {}
            assert_eq!(input, b"", "all of the input is used");
            if let Some(id) = ended {
                self.end(id);
            }
        }
        self.fast.end_of_input()
    }

    /// The session that used no shortcut.
    pub(crate) fn into_plain(self) -> Session<N> {
        self.plain
    }

    fn end(&mut self, id: u16) {
        self.fast.end(id);
        self.plain.end(id);
        self.log.end(id);
        self.compare();
    }

    fn take_request(&mut self, input: &mut &[u8]) -> bool {
        let (before, mut pairs) = (*input, Vec::new());
        let Some(opening) = self.fast.next_request(input, |pair| pairs.push(pair)) else {
            assert!(std::ptr::eq(*input, before), "nothing has happened");
            self.compare();
            return false;
        };
        let Opening { id, role, keep_conn, params } = opening;
        let content = &before[params];
        assert!(Params::new(content).iter().eq(pairs));
        let mut want =
            vec![Event::Begin { id, role, keep_conn }, Event::Params { id, content }, Event::ParamsEnd { id }];
        if role == Role::Responder && self.fast.input_complete(id) {
            want.push(Event::StdinEnd { id });
        }
        self.follow(before, input, &Ok(want));
        self.requests += 1;
        true
    }

    fn take_contents(&mut self, input: &mut &[u8]) -> bool {
        let start = *input;
        for id in IDS {
            let (before, mut pieces) = (*input, Vec::new());
            self.fast.next_contents(id, input, |piece| {
                pieces.push(&before[piece]);
                pieces.len() < self.setup.room
            });
            assert!(pieces.len() <= self.setup.room);
            self.pieces += pieces.len();
            // Only the plain session tells which stream is open.
            let is_data = matches!(self.plain.clone().next(&mut { before }), Ok(Some(Event::Data { .. })));
            let event = |content| if is_data { Event::Data { id, content } } else { Event::Stdin { id, content } };
            self.follow(before, input, &Ok(pieces.into_iter().map(event).collect()));
        }
        input.len() < start.len()
    }

    fn take_event(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        let before = *input;
        let got = self.fast.next(input);
        self.follow(before, input, &got.map(Vec::from_iter));
        got.map(|event| event.is_some())
    }

    /// Gives the plain session the bytes of `before` that the other consumed, and checks its events.
    fn follow(&mut self, before: &[u8], rest: &[u8], want: &Result<Vec<Event<'_>>, ProtocolError>) {
        let got = events(&mut self.plain, &before[..before.len() - rest.len()]);
        assert_eq!(got, *want);
        self.compare();
        got.iter().flatten().for_each(|&event| self.log.push(event));
        for &event in got.iter().flatten() {
            if let Some(id) = self.setup.ended_by(event, &self.plain) {
                self.end(id);
            }
        }
    }

    /// Compares what the sessions report of themselves.
    fn compare(&self) {
        for id in IDS {
            assert_eq!(self.fast.is_active(id), self.plain.is_active(id));
            assert_eq!(self.fast.input_complete(id), self.plain.input_complete(id));
        }
        assert_eq!(self.fast.is_over(), self.plain.is_over());
        assert_eq!(self.fast.end_of_input(), self.plain.end_of_input());
    }
}

/// The events of all of `input`.
fn events<'a, const N: usize>(session: &mut Session<N>, mut input: &'a [u8]) -> Result<Vec<Event<'a>>, ProtocolError> {
    let mut events = Vec::new();
    while let Some(event) = session.next(&mut input)? {
        events.push(event);
    }
    assert_eq!(input, b"", "all of the input is used");
    Ok(events)
}

impl Setup {
    /// The request that the application ends after this event.
    fn ended_by<const N: usize>(&self, event: Event<'_>, session: &Session<N>) -> Option<u16> {
        let id = match event {
            Event::ParamsEnd { id } | Event::StdinEnd { id } | Event::DataEnd { id } => {
                session.input_complete(id).then_some(id)?
            }
            Event::Abort { id } | Event::Oversized { id, .. } => id,
            Event::Begin { .. }
            | Event::Params { .. }
            | Event::Stdin { .. }
            | Event::Data { .. }
            | Event::Reply(_)
            | Event::Skipped { .. } => return None,
        };
        self.ends_requests.then_some(id)
    }
}

/// The bytes of a server. The application ends the request `id` of each `(at, id)`, in order, after `at` bytes.
pub(crate) struct Stream {
    pub(crate) wire: Vec<u8>,
    pub(crate) ends: Vec<(usize, u16)>,
}

impl Stream {
    /// Cuts the stream into pieces of these sizes and the rest, each with the request that is ended behind it.
    fn pieces(&self, sizes: impl IntoIterator<Item = usize>) -> impl Iterator<Item = (&[u8], Option<u16>)> {
        let (mut rest, mut ends) = (&self.wire[..], self.ends.iter().peekable());
        let mut sizes = sizes.into_iter().fuse();
        std::iter::from_fn(move || {
            let size = sizes.next().unwrap_or(usize::MAX).min(rest.len());
            let at = self.wire.len() - rest.len();
            let ended = ends.next_if(|&&(end, _)| end <= at + size);
            let size = ended.map_or(size, |&(end, _)| end - at);
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            (!piece.is_empty() || ended.is_some() || !rest.is_empty()).then_some((piece, ended.map(|&(_, id)| id)))
        })
    }
}

/// Events in order, the pieces of a stream joined.
#[derive(Debug, Default, PartialEq)]
struct Log(Vec<(String, Vec<u8>)>);

impl Log {
    fn end(&mut self, id: u16) {
        self.0.push((format!("end {id}"), Vec::new()));
    }

    fn push(&mut self, event: Event<'_>) {
        let (name, content) = match event {
            Event::Params { id, content } => (format!("Params {id}"), content),
            Event::Stdin { id, content } => (format!("Stdin {id}"), content),
            Event::Data { id, content } => (format!("Data {id}"), content),
            Event::Oversized { id, .. } => {
                // The params before it, and which of two limits it names, depend on the cuts.
                let params = format!("Params {id}");
                if self.0.last().is_some_and(|(name, _)| *name == params) {
                    self.0.pop();
                }
                (format!("Oversized {id}"), &[][..])
            }
            other => (format!("{other:?}"), &[][..]),
        };
        match self.0.last_mut() {
            Some((last, joined)) if *last == name && !content.is_empty() => joined.extend(content),
            _ => self.0.push((name, content.to_vec())),
        }
    }
}

/// The events and the end of a stream that is read byte by byte, where no shortcut applies.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    log: Log,
    end: Result<(), ProtocolError>,
}

impl Outcome {
    pub(crate) fn of<const N: usize>(stream: &Stream, setup: Setup) -> Self {
        let (mut session, mut log) = (Session::<N>::new(setup.config), Log::default());
        for (byte, ended) in stream.pieces(std::iter::repeat(1)) {
            match events(&mut session, byte) {
                Ok(events) => {
                    for event in events {
                        log.push(event);
                        if let Some(id) = setup.ended_by(event, &session) {
                            session.end(id);
                            log.end(id);
                        }
                    }
                }
                Err(error) => return Self { log, end: Err(error) },
            }
            if let Some(id) = ended {
                session.end(id);
                log.end(id);
            }
        }
        Self { log, end: session.end_of_input() }
    }

    /// Checks that the stream has the same outcome in pieces of these sizes, with and without shortcuts.
    #[track_caller]
    pub(crate) fn check<const N: usize>(
        &self,
        stream: &Stream,
        setup: Setup,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Both<N> {
        let mut both = Both::new(setup);
        let end = both.feed(stream, sizes);
        assert_eq!(both.log, self.log);
        assert_eq!(end, self.end);
        both
    }
}
