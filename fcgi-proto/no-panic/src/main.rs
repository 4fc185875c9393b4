//! Links only if nothing in fcgi-proto can panic.
//!
//! The panic handler calls a function that does not exist. The optimiser removes the handler when it can prove that no
//! panic is reachable from `main`, which reaches every public function with input it knows nothing about; otherwise the
//! linker misses the function. Overflow checks are on, so that arithmetic is part of the proof. With the feature
//! `deliberate` there is an index that may be out of bounds: that build must fail, or the proof would prove nothing.
//!
//! A binary, not a library: nobody links a staticlib, so nothing would be missed.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::hint::black_box;
use core::panic::PanicInfo;

use fcgi_proto::*;

// For memcpy and its like, and for read(2).
#[link(name = "c")]
unsafe extern "C" {
    fn read(fd: i32, buffer: *mut u8, len: usize) -> isize;
    fn a_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never called. If a call were reachable this program would not link.
    unsafe { a_panic_is_reachable() }
}

/// What is written is looked at by nobody, but the optimiser cannot know.
struct Sink;

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        black_box(text);
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let mut memory = [0u8; 4096];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { read(0, memory.as_mut_ptr(), memory.len()) };
    let Some(input) = usize::try_from(read).ok().and_then(|len| memory.get(..len)) else { return 1 };

    wire_types(input);
    pairs(input);
    decoder(input);
    session::<0>(input);
    session::<1>(input);
    session::<64>(input);
    response(input);
    #[cfg(feature = "deliberate")]
    black_box(input[number(input) as usize]);
    0
}

/// A number nobody knows.
fn number(input: &[u8]) -> u32 {
    u32::from_le_bytes(array(input))
}

fn array<const N: usize>(input: &[u8]) -> [u8; N] {
    black_box(input.first_chunk().copied().unwrap_or([0; N]))
}

fn wire_types(input: &[u8]) {
    let n = number(input);
    let (byte, short) = (n as u8, n as u16);
    if let Ok(header) = Header::decode(&array(input)) {
        black_box(header.encode());
        black_box(header.kind.to_wire());
        show(format_args!("{} {header:?}", header.kind));
    }
    black_box(Header::new(RecordType::from_wire(byte), short, short).encode());
    black_box(Role::from_wire(short).map(Role::to_wire));
    black_box(ProtocolStatus::from_wire(byte).to_wire());

    black_box(Role::from_wire(short).map(|role| BeginRequest::new(role, byte > 0)));
    let begin = BeginRequest::decode(&array(input));
    black_box((begin.keep_conn(), begin.encode(), begin.record(short)));
    let end = EndRequest::decode(&array(input));
    black_box((end.encode(), end.record(short)));
    let unknown = UnknownType::decode(&array(input));
    black_box((unknown.encode(), unknown.record()));

    for (header, content) in records(RecordType::from_wire(byte), short, input, short) {
        black_box((header.encode(), content));
    }
}

fn pairs(input: &[u8]) {
    let params = Params::new(input);
    let mut out = [0; 512];
    let mut pairs = params.iter();
    for pair in pairs.by_ref() {
        black_box((pair, pair.encoded_len(), params.get(pair.name)));
        let room = out.get_mut(..number(input) as usize).unwrap_or_default();
        black_box(pair.encode(room));
    }
    black_box((pairs.rest(), params.as_bytes(), params.into_iter()));
    show(format_args!("{params:?} {pairs:?} {Full} {Full:?}"));

    let len = number(input) as usize;
    let mut joined = ParamsBuffer::new(out.get_mut(..len).unwrap_or_default());
    let pushed = joined.push(input);
    black_box(joined.params().get(input));
    joined.clear();
    black_box((pushed.is_ok(), joined.push(input).is_ok(), joined.params().iter().last()));
}

fn decoder(mut input: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = cut(&mut input);
    loop {
        match decoder.next(&mut rest) {
            Ok(Some(fragment)) => show(format_args!("{fragment:?}")),
            Ok(None) if input.is_empty() => break,
            Ok(None) => rest = cut(&mut input),
            Err(error) => return display(&error),
        }
    }
    black_box(decoder.clone().end_of_input().is_ok());
    show(format_args!("{decoder:?}"));
}

fn session<const N: usize>(mut input: &[u8]) {
    let n = number(input);
    let config = Config { max_params_len: n, max_pairs: n, max_conns: n, max_reqs: n };
    black_box(Config::default());
    let mut session = Session::<N>::new(config);
    let mut rest = cut(&mut input);
    loop {
        if let Some(opening) = session.next_request(&mut rest, |pair| show(format_args!("{pair:?}"))) {
            show(format_args!("{opening:?}"));
        }
        session.next_contents(n as u16, &mut rest, |content| black_box(content).start > 1);
        match session.next(&mut rest) {
            Ok(Some(Event::Reply(reply))) => drop(black_box(reply.encode(&mut [0; Reply::MAX_LEN]))),
            Ok(Some(Event::Abort { id })) => session.end(id),
            Ok(Some(event)) => show(format_args!("{event:?}")),
            Ok(None) if input.is_empty() => break,
            Ok(None) => rest = cut(&mut input),
            Err(error) => return display(&error),
        }
        let id = n as u16;
        black_box((session.is_active(id), session.input_complete(id), session.is_over()));
    }
    black_box(session.clone().end_of_input().is_ok());
    show(format_args!("{session:?}"));
}

fn response(mut input: &[u8]) {
    let mut response = ResponseDecoder::default();
    let mut rest = cut(&mut input);
    loop {
        match response.next(&mut rest) {
            Ok(Some(ResponseEvent::Values(values))) => {
                black_box(values.record(&mut [0; Values::MAX_RECORD_LEN]));
            }
            Ok(Some(event)) => show(format_args!("{event:?}")),
            Ok(None) if input.is_empty() => break,
            Ok(None) => rest = cut(&mut input),
            Err(error) => return display(&error),
        }
    }
    black_box(response.clone().end_of_input().is_ok());
    show(format_args!("{response:?}"));
}

/// Splits some bytes off the front of the input.
fn cut<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let at = number(input) as usize % 64 + 1;
    let (front, rest) = input.split_at_checked(at).unwrap_or((input, &[]));
    *input = rest;
    front
}

fn display(error: &ProtocolError) {
    show(format_args!("{error} {error:?}"));
}

fn show(text: core::fmt::Arguments<'_>) {
    let _ = Sink.write_fmt(text);
}
