//! A request as it stands on the wire, made once and sent again and again.

use fcgi_proto::{BeginRequest, Header, Pair, RecordType, Role, records};

use super::params::Params;

/// How much of a body nginx puts into a record.
const STDIN_RECORD: u16 = 32 * 1024;

/// All bytes of a request, from BEGIN_REQUEST to the end of its STDIN.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    /// How many of them come before its STDIN.
    pub(super) head: usize,
}

/// Makes the bytes of a request.
pub(super) fn encode(id: u16, keep_conn: bool, params: &Params, body: &[u8]) -> Wire {
    let mut pairs = Vec::new();
    for (name, value) in params.iter() {
        let (pair, at) = (Pair { name, value }, pairs.len());
        pairs.resize(at + pair.encoded_len(), 0);
        pair.encode(&mut pairs[at..]).expect("made room for it");
    }
    let mut wire = Vec::with_capacity(pairs.len() + body.len() + body.len() / 2048 + 64);
    wire.extend(BeginRequest::new(Role::Responder, keep_conn).record(id));
    put_stream(&mut wire, RecordType::Params, id, &pairs, Header::MAX_CONTENT);
    let head = wire.len();
    put_stream(&mut wire, RecordType::Stdin, id, body, STDIN_RECORD);
    Wire { bytes: wire, head }
}

/// Adds a whole stream: its records, padded to a multiple of eight as nginx does, and the empty one that ends it.
fn put_stream(wire: &mut Vec<u8>, kind: RecordType, id: u16, bytes: &[u8], max: u16) {
    for (header, content) in records(kind, id, bytes, max) {
        let padding = content.len().wrapping_neg() % 8;
        wire.extend(Header { padding: padding as u8, ..header }.encode()); // less than 8
        wire.extend_from_slice(content);
        wire.resize(wire.len() + padding, 0);
    }
    wire.extend(Header::new(kind, id, 0).encode());
}

#[cfg(test)]
mod tests {
    use fcgi_proto::{Config, Event, Session};

    use super::*;

    /// What an application reads of a request: its params and its body.
    fn decode(mut wire: &[u8], id: u16) -> (Vec<u8>, Vec<u8>) {
        let mut session = Session::<1>::new(Config::default());
        let (mut params, mut body, mut ended) = (Vec::new(), Vec::new(), false);
        while let Some(event) = session.next(&mut wire).expect("a good request") {
            match event {
                Event::Begin { id: got, .. } => assert_eq!(got, id),
                Event::Params { content, .. } => params.extend_from_slice(content),
                Event::Stdin { content, .. } => body.extend_from_slice(content),
                Event::StdinEnd { .. } => ended = true,
                Event::ParamsEnd { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(ended && wire.is_empty());
        (params, body)
    }

    #[test]
    fn the_first_bytes_are_those_of_nginx() {
        let Wire { bytes: wire, head } = encode(1, true, &Params::new("/", None), b"");
        assert_eq!(head, wire.len() - 8);
        assert_eq!(wire[..16], [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(wire[16..20], [1, 4, 0, 1]);
        assert_eq!(wire[24..41], *b"\x0f\x09SCRIPT_FILENAME");
        assert!(wire.ends_with(&[1, 4, 0, 1, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0]));
        assert_eq!(wire.len() % 8, 0);
        assert_eq!(encode(0x0203, false, &Params::new("/", None), b"").bytes[..11], [1, 1, 2, 3, 0, 8, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn an_application_reads_what_was_meant() {
        for length in [0, 1, 8, 32 * 1024, 32 * 1024 + 1, 100_000] {
            let body = vec![7; length];
            let mut params = Params::new("/echo", Some(length));
            params.set(b"LONG", &[b'v'; 70_000]); // more than a record holds
            let (pairs, got) = decode(&encode(9, true, &params, &body).bytes, 9);
            assert!(got == body, "a body of {length} bytes");
            let pairs: Vec<_> = fcgi_proto::Params::new(&pairs).iter().map(|pair| (pair.name, pair.value)).collect();
            assert_eq!(pairs, params.iter().collect::<Vec<_>>());
        }
    }
}
