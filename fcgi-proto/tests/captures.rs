//! What ten real FastCGI clients send, decoded to exactly what the index of the recordings says.
//!
//! A selection lies in `tests/fixtures/wire`; beside a developer's workspace there may be the full set. A recording is
//! one direction of a connection, so it holds no END_REQUEST: once a request's input is complete, or it is aborted, we
//! say that it ended, since its id may begin again.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use fcgi_proto::{
    BeginRequest, Config, Decoder, Event, Header, Params, ProtocolError, RecordType, Reply, Role, Session,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Recordings up to this length are cut at every byte, longer ones into pieces of some sizes.
const SMALL: usize = 4096;

#[test]
fn the_selection() {
    assert_eq!(check_folder(&workspace().join("tests/fixtures/wire")), 47);
}

#[test]
fn the_full_set() {
    let folder = workspace().join("../shared/wire");
    if folder.is_dir() {
        assert_eq!(check_folder(&folder), 185);
    } else {
        eprintln!("the full set of recordings is not here: skipped");
    }
}

#[test]
fn the_selection_is_small_enough_for_every_clone() {
    let folder = workspace().join("tests/fixtures");
    let size = |file: fs::DirEntry| file.metadata().expect("a file has a size").len();
    let size: u64 = folder.join("wire").read_dir().expect("a folder").map(|file| size(file.expect("a file"))).sum();
    assert!(size <= 400 * 1024, "{size} bytes");
}

/// Checks every recording in a folder against its index; gives how many there are.
fn check_folder(folder: &Path) -> usize {
    const THREADS: usize = 4;
    let index = fs::read(folder.join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let captures = index["files"].as_array().expect("a list of recordings");
    let check = |want: &Value| {
        let wire = fs::read(folder.join(want["file"].as_str().expect("a name"))).expect("a recording");
        check_records(&wire, want);
        check_session(&wire, want);
    };
    // Those that take long stand side by side.
    thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || captures.iter().skip(first).step_by(THREADS).for_each(check));
        }
    });
    captures.len()
}

/// What the single records hold: the decoder alone, no session.
#[track_caller]
fn check_records(wire: &[u8], want: &Value) {
    let file = &want["file"];
    let (records, end) = split(wire);
    if want["valid"] == false {
        let Err(ProtocolError::Version(version)) = end else { panic!("{file}: {end:?}") };
        let offset = records.last().map_or(0, |record| record.offset + record.len());
        assert_eq!(json!(format!("version {version} at {offset}")), want["decode_error"], "{file}");
        return;
    }
    assert_eq!(end, Ok(()), "{file}");
    assert_eq!(want["truncated_tail_bytes"], 0, "{file} ends where a record ends");

    let mut paddings: Vec<_> = records.iter().map(|record| record.header.padding).collect();
    paddings.sort_unstable();
    paddings.dedup();
    assert_eq!(json!(paddings), want["paddings"], "{file}");

    let management: Vec<_> =
        records.iter().filter(|record| record.header.id == 0).map(Record::describe_query).collect();
    assert_eq!(json!(management), want["management"], "{file}");

    let begins = records.iter().enumerate().filter(|(_, record)| record.header.kind == RecordType::BeginRequest);
    let requests: Vec<_> = begins.map(|(at, begin)| describe_request(begin, &records[at + 1..])).collect();
    assert_eq!(json!(requests), want["requests"], "{file}");
}

/// A request as the index has it, out of its first record and all those behind it.
fn describe_request(begin: &Record, rest: &[Record]) -> Value {
    let id = begin.header.id;
    let body = BeginRequest::decode(begin.content.as_slice().try_into().expect("eight bytes"));
    let own: Vec<_> = rest
        .iter()
        .filter(|record| record.header.id == id)
        .take_while(|record| record.header.kind != RecordType::BeginRequest)
        .collect();
    let stream = |kind| own.iter().filter(move |record| record.header.kind == kind);
    let contents = |kind| stream(kind).map(|record| record.content.as_slice()).filter(|content| !content.is_empty());
    let ended = |kind| stream(kind).any(|record| record.content.is_empty());

    let params = contents(RecordType::Params).collect::<Vec<_>>().concat();
    let stdin = contents(RecordType::Stdin).collect::<Vec<_>>().concat();
    json!({
        "id": id,
        "role": body.role,
        "flags": body.flags,
        "begin_offset": begin.offset,
        "params_complete": ended(RecordType::Params),
        "params_length": params.len(),
        "params_records": contents(RecordType::Params).map(<[u8]>::len).collect::<Vec<_>>(),
        "params": escape_pairs(&params),
        "pair_crosses_record": contents(RecordType::Params).any(|content| !whole_pairs(content)),
        "stdin_complete": ended(RecordType::Stdin),
        "stdin_records": contents(RecordType::Stdin).count(),
        "stdin_length": stdin.len(),
        "stdin_sha256": sha256(&stdin),
        "aborted": stream(RecordType::AbortRequest).next().is_some(),
    })
}

/// What an application sees: the session, over input that is whole and cut in many ways.
#[track_caller]
fn check_session(wire: &[u8], want: &Value) {
    let file = &want["file"];
    let whole = Seen::of([wire]);
    if want["valid"] == false {
        assert!(want["decode_error"].as_str().is_some_and(|error| error.starts_with("version 49 ")), "{file}");
        assert_eq!(whole.end, Err(ProtocolError::Version(49)), "{file}");
        assert!(whole.requests.iter().all(|request| !request.params_complete), "{file}: its handler was started");
    } else {
        assert_eq!(whole.end, Ok(()), "{file}");
        assert_eq!(whole.queries, want["management"].as_array().expect("a list").len(), "{file}");
        let wanted = want["requests"].as_array().expect("a list");
        assert_eq!(whole.requests.len(), wanted.len(), "{file}");
        for (request, want) in whole.requests.iter().zip(wanted) {
            request.check(want, file);
        }
    }

    for size in [1, 7, 512, 8192, 65536] {
        assert_eq!(Seen::of(wire.chunks(size)), whole, "{file} in pieces of {size}");
    }
    if wire.len() <= SMALL {
        for cut in 1..wire.len() {
            assert_eq!(Seen::of([&wire[..cut], &wire[cut..]]), whole, "{file} cut at {cut}");
        }
    }
}

/// All that a session said of a recording, the pieces of each stream joined.
#[derive(Debug, PartialEq)]
struct Seen {
    requests: Vec<Request>,
    /// Answers to `FCGI_GET_VALUES`.
    queries: usize,
    end: Result<(), ProtocolError>,
}

#[derive(Debug, Default, PartialEq)]
struct Request {
    id: u16,
    role: u16,
    keep_conn: bool,
    params: Vec<u8>,
    params_complete: bool,
    stdin: Vec<u8>,
    stdin_complete: bool,
    aborted: bool,
}

impl Seen {
    /// Runs a session over pieces of a recording.
    fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut seen = Self { requests: Vec::new(), queries: 0, end: Ok(()) };
        let mut session = Session::<64>::new(Config::default());
        for mut piece in pieces {
            while let Some(event) = session.next(&mut piece).unwrap_or_default() {
                seen.take(event, &mut session);
            }
        }
        seen.end = session.end_of_input();
        seen
    }

    fn take(&mut self, event: Event<'_>, session: &mut Session<64>) {
        match event {
            Event::Begin { id, role, keep_conn } => {
                self.requests.push(Request { id, role: role.to_wire(), keep_conn, ..Request::default() });
            }
            Event::Params { id, content } => self.request(id).params.extend_from_slice(content),
            Event::ParamsEnd { id } => self.request(id).params_complete = true,
            Event::Stdin { id, content } => self.request(id).stdin.extend_from_slice(content),
            Event::StdinEnd { id } => self.request(id).stdin_complete = true,
            Event::Abort { id } => {
                self.request(id).aborted = true;
                session.end(id);
            }
            Event::Reply(Reply::Values(_)) => self.queries += 1,
            Event::Data { .. }
            | Event::DataEnd { .. }
            | Event::Oversized { .. }
            | Event::Skipped { .. }
            | Event::Reply(Reply::Refuse { .. } | Reply::UnknownType(_)) => panic!("no server sends this: {event:?}"),
        }
        if let Event::ParamsEnd { id } | Event::StdinEnd { id } = event {
            if session.input_complete(id) {
                session.end(id);
            }
        }
    }

    /// The request that has this id now.
    fn request(&mut self, id: u16) -> &mut Request {
        self.requests.iter_mut().rfind(|request| request.id == id).expect("events come after Begin")
    }
}

impl Request {
    #[track_caller]
    fn check(&self, want: &Value, file: &Value) {
        assert_eq!(json!(self.id), want["id"], "{file}");
        assert_eq!(json!(self.role), want["role"], "{file}");
        assert_eq!(json!(u8::from(self.keep_conn)), want["flags"], "{file}");
        assert_eq!(json!(escape_pairs(&self.params)), want["params"], "{file}");
        assert_eq!(json!(self.params_complete), want["params_complete"], "{file}");
        assert_eq!(json!(self.stdin.len()), want["stdin_length"], "{file}");
        assert_eq!(json!(sha256(&self.stdin)), want["stdin_sha256"], "{file}");
        assert_eq!(json!(self.aborted), want["aborted"], "{file}");
        // An Authorizer has no body: whether a server sends an empty one, as lighttpd does, makes no difference.
        let authorizer = self.role == Role::Authorizer.to_wire();
        assert_eq!(json!(self.stdin_complete), if authorizer { json!(false) } else { want["stdin_complete"].clone() });
    }
}

/// A whole record, and where in the recording it begins.
struct Record {
    offset: usize,
    header: Header,
    content: Vec<u8>,
}

impl Record {
    /// Bytes on the wire.
    fn len(&self) -> usize {
        Header::LEN + self.content.len() + usize::from(self.header.padding)
    }

    fn describe_query(&self) -> Value {
        assert_eq!(self.header.kind, RecordType::GetValues, "the only management record that servers send");
        let names: Vec<_> = Params::new(&self.content).iter().map(|pair| escape(pair.name)).collect();
        json!({"type": "GET_VALUES", "names": names, "offset": self.offset})
    }
}

/// Splits a recording into its records; also says what its end, or what broke it, means to the decoder.
fn split(mut wire: &[u8]) -> (Vec<Record>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new();
    let mut records: Vec<Record> = Vec::new();
    while let Some(fragment) = decoder.next(&mut wire).unwrap_or_default() {
        assert!(fragment.first && fragment.last, "all of the recording is there");
        let offset = records.last().map_or(0, |record| record.offset + record.len());
        records.push(Record { offset, header: fragment.header, content: fragment.content.to_vec() });
    }
    (records, decoder.end_of_input())
}

fn whole_pairs(content: &[u8]) -> bool {
    let mut pairs = Params::new(content).iter();
    pairs.by_ref().for_each(drop);
    pairs.rest().is_empty()
}

fn escape_pairs(params: &[u8]) -> Vec<[String; 2]> {
    assert!(whole_pairs(params), "real params are well formed");
    Params::new(params).iter().map(|pair| [escape(pair.name), escape(pair.value)]).collect()
}

/// Bytes as the index spells them: a backslash is doubled, control bytes and what is not UTF-8 become `\xNN`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str(r"\\"),
                '\0'..=' ' | '\x7f' if c != ' ' => text.push_str(&format!(r"\x{:02x}", u32::from(c))),
                _ => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!(r"\x{byte:02x}")));
    }
    text
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
