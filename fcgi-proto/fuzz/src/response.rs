use super::wire::{Cuts, Part, Wire, assert_borrowed, split_pairs};
use fcgi_proto::{
    EndRequest, ProtocolError, ProtocolStatus, RecordType as Type, ResponseDecoder, ResponseEvent, UnknownType, Values,
};

/// `ResponseDecoder`: two bytes say where to cut, the others are what an application sends.
///
/// Whatever the cuts, the events and the errors are those the documentation promises of these records.
pub fn response(data: &[u8]) {
    let Some((&cuts, stream)) = data.split_first_chunk() else { return };
    for cuts in [Cuts::WHOLE, Cuts::BYTES, Cuts(cuts)] {
        decode(stream, cuts);
    }
}

fn decode(stream: &[u8], cuts: Cuts) {
    let (mut decoder, mut reference) = (ResponseDecoder::new(), Reference::new());
    for mut input in cuts.pieces(stream) {
        loop {
            let before = input;
            let got = decoder.next(&mut input);
            let want = reference.expect(&before[..before.len() - input.len()]);
            assert_eq!(got, want);
            match (got, want) {
                (Ok(Some(got)), Ok(Some(want))) => {
                    assert_borrowed(content(got), content(want));
                    assert_eq!(decoder.end_of_input(), reference.wire.end_of_input());
                }
                (Err(error), _) => {
                    assert_eq!(decoder.next(&mut input), Err(error));
                    assert_eq!(decoder.end_of_input(), Err(error));
                    return;
                }
                _ => break assert!(input.is_empty()),
            }
        }
        assert_eq!(decoder.end_of_input(), reference.wire.end_of_input());
    }
}

fn content(event: ResponseEvent<'_>) -> &[u8] {
    match event {
        ResponseEvent::Stdout { content, .. } | ResponseEvent::Stderr { content, .. } => content,
        _ => &[],
    }
}

struct Reference {
    wire: Wire,
    /// The content so far of the record being read.
    body: Vec<u8>,
}

impl Reference {
    fn new() -> Self {
        Self { wire: Wire::new(), body: Vec::new() }
    }

    /// What a call that consumed `used` has to give.
    fn expect<'a>(&mut self, used: &'a [u8]) -> Result<Option<ResponseEvent<'a>>, ProtocolError> {
        let (mut want, mut start) = (None, 0);
        for (at, &byte) in used.iter().enumerate() {
            let event = self.read(byte).inspect_err(|error| assert_eq!(want, None, "swallowed before {error}"))?;
            let Some(event) = event else { continue };
            if want.is_none() {
                start = at;
            }
            let content = &used[start..=at];
            want = Some(match (want, event) {
                (None | Some(ResponseEvent::Stdout { .. }), ResponseEvent::Stdout { id, .. }) => {
                    ResponseEvent::Stdout { id, content }
                }
                (None | Some(ResponseEvent::Stderr { .. }), ResponseEvent::Stderr { id, .. }) => {
                    ResponseEvent::Stderr { id, content }
                }
                (None, event) => event,
                (Some(first), second) => panic!("one call consumed both {first:?} and {second:?}"),
            });
        }
        Ok(want)
    }

    /// What one more byte means; that of a stream gives a piece of it, without its content.
    fn read(&mut self, byte: u8) -> Result<Option<ResponseEvent<'static>>, ProtocolError> {
        let (header, first, last, byte) = match self.wire.read(byte)? {
            Part::Between => return Ok(None),
            Part::Empty(header) => (header, true, true, None),
            Part::Content { header, first, last } => (header, first, last, Some(byte)),
        };
        if first {
            self.body.clear();
        }
        self.body.extend(byte);
        let id = header.id;
        let content: &[u8] = &[];
        Ok(match header.kind {
            Type::EndRequest | Type::Stdout | Type::Stderr if id == 0 => {
                return Err(ProtocolError::NullRequest(header.kind.to_wire()));
            }
            Type::Stdout if byte.is_some() => Some(ResponseEvent::Stdout { id, content }),
            Type::Stdout => Some(ResponseEvent::StdoutEnd { id }),
            Type::Stderr if byte.is_some() => Some(ResponseEvent::Stderr { id, content }),
            Type::Stderr => Some(ResponseEvent::StderrEnd { id }),
            Type::EndRequest if header.content != 8 => return Err(ProtocolError::EndLength(header.content)),
            Type::UnknownType if header.content != 8 => return Err(ProtocolError::UnknownTypeLength(header.content)),
            Type::EndRequest if last => Some(ResponseEvent::End { id, end: end_request(&self.body) }),
            Type::UnknownType if last => Some(ResponseEvent::UnknownType(UnknownType(self.body[0]))),
            Type::GetValuesResult if last => {
                let values = result(&self.body).ok_or(ProtocolError::CutValues(header.content))?;
                Some(ResponseEvent::Values(values))
            }
            Type::EndRequest | Type::UnknownType | Type::GetValuesResult | Type::Other(_) => None,
            Type::BeginRequest | Type::AbortRequest | Type::Params | Type::Stdin | Type::Data | Type::GetValues => {
                return Err(ProtocolError::ServerType(header.kind.to_wire()));
            }
        })
    }
}

fn end_request(body: &[u8]) -> EndRequest {
    let app_status = body[..4].iter().fold(0, |status, &byte| status << 8 | u32::from(byte));
    let protocol_status = match body[4] {
        0 => ProtocolStatus::RequestComplete,
        1 => ProtocolStatus::CantMpxConn,
        2 => ProtocolStatus::Overloaded,
        3 => ProtocolStatus::UnknownRole,
        other => ProtocolStatus::Other(other),
    };
    EndRequest { app_status, protocol_status }
}

/// What the content of `FCGI_GET_VALUES_RESULT` gives; `None` if it ends inside a pair.
fn result(body: &[u8]) -> Option<Values> {
    let (pairs, rest) = split_pairs(body);
    // The last one of a name counts, and what is no decimal number of 32 bits gives nothing.
    let number = |wanted: &[u8]| {
        let &(_, value) = pairs.iter().rev().find(|(name, _)| *name == wanted)?;
        let digits = value.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(value).ok().filter(|_| digits)?.parse::<u32>().ok()
    };
    rest.is_empty().then(|| Values {
        max_conns: number(b"FCGI_MAX_CONNS"),
        max_reqs: number(b"FCGI_MAX_REQS"),
        mpxs_conns: number(b"FCGI_MPXS_CONNS").filter(|&number| number < 2).map(|number| number == 1),
    })
}
