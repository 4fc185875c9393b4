use super::wire::{Cuts, encode_pair, lengths, record, split_pairs};
use fcgi_proto::{Config, Event, Full, Limit, Pair, Params, ParamsBuffer, ProtocolError, Session};

/// Name-value pairs: six bytes choose records, reads and memory, the others are encoded pairs, perhaps not whole.
///
/// They are what is in the bytes, found by name as well, and written as they were read; in pieces they come to the
/// same, and a limit, at which all is well, refuses them when it is one lower.
pub fn pairs(data: &[u8]) {
    let Some((&[records1, records2, reads1, reads2, memory1, memory0], bytes)) = data.split_first_chunk() else {
        return;
    };
    read(bytes);
    write(bytes);
    send(bytes, Cuts([records1, records2]), Cuts([reads1, reads2]));
    join(bytes, Cuts([reads1, reads2]), u16::from_be_bytes([memory1, memory0]).into());
}

fn read(bytes: &[u8]) {
    let (pairs, rest) = split_pairs(bytes);
    let params = Params::new(bytes);
    assert_eq!(params.as_bytes(), bytes);
    let mut iter = params.iter();
    for &(name, value) in &pairs {
        assert_eq!(iter.next(), Some(Pair { name, value }));
    }
    assert_eq!((iter.next(), iter.rest()), (None, rest));

    // Enough to meet duplicates; all of thousands would take the fuzzer's time.
    let last = |wanted: &[u8]| pairs.iter().rev().find(|(name, _)| *name == wanted).map(|&(_, value)| value);
    for &(name, _) in pairs.iter().take(8).chain(pairs.iter().rev().take(8)) {
        assert_eq!(params.get(name), last(name));
        assert_eq!(params.get(&name[..name.len() / 2]), last(&name[..name.len() / 2]));
    }
    assert_eq!(params.get(bytes), last(bytes));
}

fn write(bytes: &[u8]) {
    let (pairs, rest) = split_pairs(bytes);
    let mut written = Vec::new();
    for &(name, value) in &pairs {
        let (pair, want) = (Pair { name, value }, encode_pair(name, value));
        assert_eq!(pair.encoded_len(), want.len());
        let mut out = vec![0xaa; want.len() + 1];
        assert_eq!(pair.encode(&mut out[..want.len() - 1]), None);
        assert_eq!(pair.encode(&mut out[..want.len()]), Some(want.len()));
        assert_eq!(pair.encode(&mut out), Some(want.len()));
        assert_eq!(out.split_last(), Some((&0xaa, &want[..])));
        written.extend(want);
    }
    // A short length may have come in four bytes, but never goes out so.
    assert!(written.len() <= bytes.len() - rest.len());
    assert!(Params::new(&written).iter().map(|pair| (pair.name, pair.value)).eq(pairs));
}

/// The bytes as the params of a request.
fn send(bytes: &[u8], records: Cuts, reads: Cuts) {
    let mut stream = record(1, 1, &[0, 1, 1, 0, 0, 0, 0, 0]);
    for content in records.pieces(bytes).flat_map(|piece| piece.chunks(0xffff)) {
        stream.extend(record(4, 1, content));
    }
    stream.extend(record(4, 1, &[]));
    let receive = |max_params_len, max_pairs| receive(&stream, reads, max_params_len, max_pairs);

    let (pairs, rest) = split_pairs(bytes);
    let (len, count) = (bytes.len() as u32, pairs.len() as u32);
    let ample = u32::MAX;
    if let Some((name, value, used)) = lengths(rest) {
        let start = bytes.len() - rest.len() + used;
        if start as u64 + name as u64 + value as u64 > ample.into() {
            // Two lengths of 31 bits are more than any limit.
            return assert_eq!(receive(ample, ample), Outcome::Oversized(Limit::ParamsLen));
        }
    }
    if !rest.is_empty() {
        return assert_eq!(receive(ample, ample), Outcome::Broken(ProtocolError::CutParams(1)));
    }
    assert_eq!(receive(len, count), Outcome::Params(bytes.to_vec()));
    if count > 0 {
        assert_eq!(receive(len - 1, ample), Outcome::Oversized(Limit::ParamsLen));
        assert_eq!(receive(ample, count - 1), Outcome::Oversized(Limit::Pairs));
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Params(Vec<u8>),
    Oversized(Limit),
    Broken(ProtocolError),
}

fn receive(stream: &[u8], reads: Cuts, max_params_len: u32, max_pairs: u32) -> Outcome {
    let mut session = Session::<1>::new(Config { max_params_len, max_pairs, ..Config::default() });
    let mut joined = Vec::new();
    for mut input in reads.pieces(stream) {
        loop {
            match session.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Begin { .. })) => {}
                Ok(Some(Event::Params { content, .. })) => joined.extend_from_slice(content),
                Ok(Some(Event::ParamsEnd { .. })) => return Outcome::Params(joined),
                Ok(Some(Event::Oversized { limit, .. })) => return Outcome::Oversized(limit),
                Ok(Some(event)) => panic!("{event:?}"),
                Err(error) => return Outcome::Broken(error),
            }
        }
    }
    panic!("the params did not end");
}

/// The bytes in pieces, joined in so much memory.
fn join(bytes: &[u8], pieces: Cuts, memory: usize) {
    let mut memory = vec![0; memory];
    let room = memory.len();
    let mut buffer = ParamsBuffer::new(&mut memory);
    let mut joined = Vec::new();
    for piece in pieces.pieces(bytes) {
        let fits = joined.len() + piece.len() <= room;
        assert_eq!(buffer.push(piece), if fits { Ok(()) } else { Err(Full) });
        if fits {
            joined.extend_from_slice(piece);
        }
        assert_eq!(buffer.params().as_bytes(), joined);
    }
    buffer.clear();
    assert_eq!(buffer.params().as_bytes(), b"");
    let all = bytes.get(..room).unwrap_or(bytes);
    assert_eq!(buffer.push(all), Ok(()));
    assert_eq!(buffer.params().as_bytes(), all);
}
