//! What happens behind every web server.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_tests::{Answer, PATIENCE, Process, Program, Signal, Stray, eventually, proc, skip};

use super::site::{Place, Seen, Site};
use super::table::{Case, RIGHT};

pub(crate) fn get(place: &Place) {
    let site = place.site();
    for _ in 0..3 {
        let answer = site.get("/params");
        assert_eq!((answer.status(), answer.header("Content-Type")), (200, Some("text/plain")));
        let text = answer.text();
        for line in ["REQUEST_METHOD=GET", "SERVER_PROTOCOL=HTTP/1.1"] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }
}

pub(crate) fn head(place: &Place) {
    let site = place.site();
    let answer = site.client().head(&site.path("/hello")).expect("an answer");
    assert_eq!((answer.status(), answer.body()), (200, &b""[..]));
    // Those who drop the body themselves may drop its length, too, but not tell a wrong one.
    assert!(matches!(answer.header("Content-Length"), None | Some("13")), "{answer:?}");
    site.expect_hello();
}

pub(crate) fn query_and_40_headers(place: &Place) {
    let site = place.site();
    let query = "a=1&b=%3Cscript%3E&c=%20+x&&d=&e=a%2Fb";
    let headers: Vec<(String, String)> =
        (0..40).map(|number| (format!("X-Number-{number}"), format!("value {number}"))).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let answer = site.client().get_with(&site.path(&format!("/params?{query}")), &headers).expect("an answer");
    let text = answer.text();
    let lines: BTreeSet<&str> = text.lines().collect();
    assert!(lines.contains(&format!("QUERY_STRING={query}")[..]), "{text}");
    for number in 0..40 {
        assert!(
            lines.contains(&format!("HTTP_X_NUMBER_{number}=value {number}")[..]),
            "{number} is missing in\n{text}"
        );
    }
}

/// The largest header that the server passes on comes whole. One that is far too large is refused, and nothing is
/// the worse for it.
pub(crate) fn large_header(place: &Place) {
    let site = place.site();
    let ask = |length: usize| {
        let value: String = (0..length).map(|index| char::from(b'a' + (index % 23) as u8)).collect();
        let answer = site.client().get_with(&site.path("/params"), &[("X-Large", &value)]);
        (format!("HTTP_X_LARGE={value}"), answer)
    };
    let (line, answer) = ask(place.server.largest_header);
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.text().lines().any(|found| found == line), "the header did not come whole");
    if let (_, Ok(answer)) = ask(1 << 20) {
        assert!((400..600).contains(&answer.status()), "{}", answer.status());
    }
    site.expect_hello();
}

pub(crate) fn post_nothing(place: &Place) {
    echoes(place, 0);
}

pub(crate) fn post_25_bytes(place: &Place) {
    echoes(place, 25);
}

pub(crate) fn post_64_kib(place: &Place) {
    echoes(place, 64 << 10);
}

pub(crate) fn post_1_mib(place: &Place) {
    digests(place, 1 << 20);
}

pub(crate) fn post_50_mib(place: &Place) {
    digests(place, 50 << 20);
}

/// Twice: the second one finds a kept connection.
fn echoes(place: &Place, length: usize) {
    let site = place.site();
    let body = pattern(length);
    for _ in 0..2 {
        let answer = site.post("/echo", &body);
        assert_eq!(answer.status(), 200);
        assert!(answer.body() == body, "the echo differs: {} bytes", answer.body().len());
    }
}

fn digests(place: &Place, length: usize) {
    let site = place.site();
    let body = pattern(length);
    let answer = site.post("/digest", &body);
    assert_eq!((answer.status(), answer.text()), (200, digest(body.len())));
}

pub(crate) fn chunked_upload(place: &Place) {
    let site = place.site();
    let body = pattern(place.server.largest_chunked.unwrap_or(1 << 20));
    for _ in 0..2 {
        let answer = site.client().post_from(&site.path("/digest"), &mut &body[..], None);
        if place.server.loses_chunks && answer.is_err() {
            continue; // it has answered, and closed before the client had said all
        }
        let answer = answer.expect("an answer");
        match place.server.largest_chunked {
            Some(length) => {
                let arrives = if place.server.loses_chunks { 0 } else { length };
                assert_eq!((answer.status(), answer.text()), (200, digest(arrives)));
            }
            None => assert_eq!(answer.status(), 411),
        }
    }
    let right = |length: usize| (200, digest(length));
    let upload = |length: usize| {
        let body = pattern(length);
        let answer = site.client().post_from(&site.path("/digest"), &mut &body[..], None);
        answer.map(|answer| (answer.status(), answer.text()))
    };
    if matches!(place.server.clients_see, Seen::Column(_)) {
        const LENGTH: usize = 56 << 10;
        let is_right = upload(LENGTH).is_ok_and(|answer| answer == right(LENGTH));
        place.expect(Case::ChunkedUpload, if is_right { RIGHT } else { "not right" });
    }
    // Beyond the limit of a server it is refused, visibly.
    const LARGE: usize = 1 << 20;
    if let (Ok(answer), false) = (upload(LARGE), place.server.loses_chunks) {
        assert!(answer == right(LARGE) || (400..500).contains(&answer.0), "{answer:?}");
    }
}

pub(crate) fn slow_upload(place: &Place) {
    let site = place.site();
    let body = pattern(20 << 10);
    let mut slow = Slow(&body);
    let answer = site.client().post_from(&site.path("/digest"), &mut slow, Some(body.len())).expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, digest(body.len())));
}

/// Gives a little at a time, and rests in between: a client with a slow line.
struct Slow<'b>(&'b [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(10));
        let count = buffer.len().min(1000);
        self.0.read(&mut buffer[..count])
    }
}

/// The client goes away in the middle of its upload: to the application that is an error, never the end of a body.
pub(crate) fn cut_upload(place: &Place) {
    let site = place.site();
    let journal = site.journal();
    let page = format!("/digest?journal={}", journal.path());
    let mut client = site.connect();
    client.send(site.head_of("POST", &page, "Content-Length: 1000000\r\n").as_bytes());
    client.send(&pattern(200_000));
    if place.server.streams_uploads {
        journal.wait_for("upload: began");
    }
    drop(client);
    if place.server.streams_uploads {
        let end = eventually("the end of the upload", || journal.lines().into_iter().nth(1));
        let errors = ["upload: UnexpectedEof", "upload: ConnectionAborted", "upload: ConnectionReset"];
        assert!(errors.contains(&&end[..]), "{end}");
    }
    site.expect_hello();
    let _kept = site.end();
    assert!(!journal.lines().iter().any(|line| line == "upload: whole"), "half an upload passed for a whole one");
}

/// The client goes away in the middle of an answer without end: the handler finds out, and ends. Some servers take the
/// rest of the answer all the same.
pub(crate) fn client_gone(place: &Place) {
    let site = place.site();
    let journal = site.journal();
    let mut client = site.connect();
    let mib = if place.server.reports_gone_clients { 1024 } else { 16 };
    let page = format!("/endless?journal={}&mib={mib}", journal.path());
    client.send(site.head_of("GET", &page, "").as_bytes());
    let mut some = vec![0; 100_000];
    client.read_exact(&mut some).expect("the beginning of the answer");
    drop(client);
    journal.wait_for(if place.server.reports_gone_clients { "answer: given up" } else { "answer: whole" });
    site.expect_hello();
}

pub(crate) fn answer_of_10_mib(place: &Place) {
    let site = place.site();
    for _ in 0..2 {
        let answer = site.get(&format!("/bytes?count={}", 10 << 20));
        assert_eq!(answer.status(), 200);
        assert!(answer.body() == pattern(10 << 20), "the answer differs: {} bytes", answer.body().len());
    }
}

/// The application answers before it has read anything of an upload. Its answer is not lost, unless the server is
/// known to die of it, and goes on all the same.
pub(crate) fn early_answer(place: &Place) {
    let site = place.site();
    for _ in 0..2 {
        let mut client = site.connect();
        let mut writer = client.try_clone().expect("a second handle");
        let head = site.head_of("POST", "/early", "Content-Length: 1000000\r\n");
        let mut answer = Vec::new();
        thread::scope(|scope| {
            // The server may stop reading when it has the answer.
            scope.spawn(move || writer.write_all(&[head.as_bytes(), &pattern(1_000_000)].concat()));
            let mut piece = [0; 4096];
            while !answer.windows(10).any(|bytes| bytes == b"not wanted") {
                match client.read(&mut piece) {
                    Ok(length) if length > 0 => answer.extend(&piece[..length]),
                    _ => break,
                }
            }
            // Nor does it have to close: HAProxy waits for the rest of the upload.
            let _ = client.shutdown(Shutdown::Both);
        });
        let answer = String::from_utf8_lossy(&answer);
        if !place.server.survives_early_answers {
            eventually("a server that is there again", || site.client().get(&site.path("/hello")).ok());
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("not wanted"), "{answer}");
    }
    site.expect_hello();
}

pub(crate) fn redirects(place: &Place) {
    let site = place.site();
    for status in [301, 302, 303, 307] {
        for to in ["http://elsewhere.test/page", "/local/page"] {
            let answer = site.get(&format!("/redirect?status={status}&to={to}"));
            let location = answer.header("Location").unwrap_or_default();
            let status = place.server.redirect.unwrap_or(status);
            // A path may have become a whole URL of the same host.
            assert!(answer.status() == status && location.ends_with(to), "{status} to {to}: {answer:?}");
        }
    }
}

pub(crate) fn cookies(place: &Place) {
    let site = place.site();
    let cookie = "first=1; second=\"two words\"";
    let answer = site.client().get_with(&site.path("/cookies"), &[("Cookie", cookie)]).expect("an answer");
    assert_eq!(answer.text(), cookie);
    assert_eq!(answer.headers("Set-Cookie"), ["a=1; Path=/", "b=2; Path=/; HttpOnly"]);
}

/// The application's own pages reach the client, and a handler that panics is a 500.
pub(crate) fn errors_with_bodies(place: &Place) {
    let site = place.site();
    for status in [400, 403, 404, 410, 500, 503] {
        let answer = site.get(&format!("/error?status={status}"));
        assert_eq!(answer.text(), format!("the application's own page for {status}"));
        assert_eq!(answer.status(), status);
    }
    assert_eq!(site.get("/panic").status(), 500);
    site.expect_hello();
}

/// What a client sees of responses that are not whole, by what their handler does: whether it is told that something is
/// missing, and when. A response of which it is not told is one with all bytes of its `Content-Length`.
pub(crate) fn failed_responses(place: &Place) {
    const FAILURES: [(Case, &str, Option<usize>); 14] = [
        (Case::Fails, "after=20000&how=error", None),
        (Case::Fails, "after=200000&how=error", None),
        (Case::Fails, "after=20000&how=abort", None),
        (Case::Panics, "after=20000&how=panic", None),
        (Case::Panics, "after=200000&how=panic", None),
        (Case::FailsWithLength, "after=20000&length=20300&how=error", Some(20_300)),
        (Case::FailsWithLength, "after=200000&length=200300&how=error", Some(200_300)),
        (Case::PanicsWithLength, "after=20000&length=20300&how=panic", Some(20_300)),
        (Case::PanicsWithLength, "after=5000000&length=5000300&how=panic", Some(5_000_300)),
        (Case::Short, "after=20000&length=20300&how=short", Some(20_300)),
        (Case::Short, "after=200000&length=200300&how=short", Some(200_300)),
        (Case::Long, "after=20000&length=20000&how=long&more=300", Some(20_000)),
        (Case::Long, "after=10000&length=20000&how=long&more=15000", Some(20_000)),
        (Case::Long, "after=200000&length=400000&how=long&more=300000", Some(400_000)),
    ];
    let Some(curl) = Program::installed("curl") else { skip!("curl is not installed") };
    let site = place.site();
    let see = |query: &str, length: Option<usize>| {
        let download = Download::start(&curl, &site, &format!("/fail?{query}"), &[]);
        download.end().of_a_failure(length)
    };
    let seen: Vec<String> = if place.transport.starts_with("multiplexed") {
        // One response cannot be broken off while others are under way on its connection.
        FAILURES.iter().map(|&(_, query, length)| see(query, length)).collect()
    } else {
        thread::scope(|scope| {
            let threads = FAILURES.map(|(_, query, length)| scope.spawn(move || see(query, length)));
            threads.into_iter().map(|thread| thread.join().expect("curl has ended")).collect()
        })
    };
    let mut by_case: Vec<(Case, Vec<&str>)> = Vec::new();
    for ((case, ..), words) in FAILURES.iter().zip(&seen) {
        match by_case.last_mut() {
            Some((last, all)) if last == case => all.push(words),
            _ => by_case.push((*case, vec![words])),
        }
    }
    for (case, mut words) in by_case {
        words.retain(|&words| words != RIGHT);
        words.dedup();
        let seen = if words.is_empty() { RIGHT.to_owned() } else { words.join("; ") };
        place.expect(case, &seen);
    }
    site.expect_hello();
}

/// What is seen of a failed response when the client cannot tell.
pub(crate) const WHOLE: &str = "passes for whole";

/// From when on a client is told late: Apache needs 5 s, and busy machines some time.
const LATE: Duration = Duration::from_secs(4);

/// A client that keeps its connection: curl.
struct Download {
    curl: Process,
    file: PathBuf,
}

/// What curl has when it has ended.
struct Downloaded {
    /// Whether it is satisfied with the response.
    succeeded: bool,
    status: u16,
    body: Vec<u8>,
    /// From the first byte of the response to its end.
    rest: Duration,
}

impl Download {
    fn start(curl: &Program, site: &Site, page: &str, more: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let file = site.signpost().with_extension(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        let mut command = curl.command();
        command.args(["-s", "-N", "--max-time", "60", "-H", &format!("Host: {}", site.host())]).args(more);
        command.args(["-w", "%{http_code} %{time_starttransfer} %{time_total}", "-o"]).arg(&file);
        command.arg(format!("http://{}{}", site.web.address(), site.path(page)));
        Download { curl: Process::start(&mut command), file }
    }

    /// What has come of the body.
    fn so_far(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap_or_default()
    }

    #[track_caller]
    fn end(mut self) -> Downloaded {
        let succeeded = self.curl.wait_exit_within(2 * PATIENCE).success();
        let report = self.curl.stdout().to_end();
        let numbers: Vec<f64> = report.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[status, first, total] = &numbers[..] else { panic!("curl reports {report}") };
        let body = self.so_far();
        let _ = fs::remove_file(&self.file);
        Downloaded { succeeded, status: status as u16, body, rest: Duration::from_secs_f64((total - first).max(0.0)) }
    }
}

impl Downloaded {
    /// The words for the response of a handler that failed, or wrote more than its `Content-Length`.
    fn of_a_failure(&self, length: Option<usize>) -> String {
        if [500, 502].contains(&self.status) {
            return RIGHT.to_owned();
        }
        let is_ours = pattern(self.body.len()) == self.body;
        let is_whole = length == Some(self.body.len()) && is_ours;
        let has_page = self.body.windows(9).any(|bytes| bytes == b"<!DOCTYPE");
        match self.succeeded {
            _ if has_page => "error page in it".to_owned(),
            _ if !is_ours => "other bytes in it".to_owned(),
            true if is_whole => RIGHT.to_owned(),
            true => WHOLE.to_owned(),
            false if self.rest < LATE => RIGHT.to_owned(),
            false if self.rest < 2 * LATE => "told after 5 s".to_owned(),
            false => format!("told after {} s", self.rest.as_secs()),
        }
    }
}

/// A stream of events reaches the client as they are written; when the application is told to stop, its handler hears of
/// that, and the stream ends at once, as the handler wants it.
pub(crate) fn events_and_stop(place: &Place) {
    let Some(curl) = Program::installed("curl") else { skip!("curl is not installed") };
    place.expect(Case::EventsAndStop, &see_events(place, &curl, "events"));
}

/// What a client sees of such a page.
pub(crate) fn see_events(place: &Place, curl: &Program, page: &str) -> String {
    let site = place.site_with(&[("FCGI_STOP_TIMEOUT", "1m")]);
    let journal = site.journal();
    let download = Download::start(curl, &site, &format!("/{page}?journal={}", journal.path()), &[]);
    // What is kept back until 40 were written, one each 100 ms, comes late.
    let comes = eventually("events", || {
        let has_come = download.so_far().windows(8).any(|bytes| bytes == b"data: 3\n");
        let is_written = || journal.lines().iter().any(|line| line == "events: 40");
        if has_come { Some(true) } else { is_written().then_some(false) }
    });
    let begun = Instant::now();
    let workers: Vec<Stray> = site.workers().into_iter().map(Stray::adopt).collect();
    workers.iter().for_each(|worker| worker.signal(Signal::TERM));
    let downloaded = download.end();
    let stopped = begun.elapsed();
    let text = String::from_utf8_lossy(&downloaded.body);
    let events: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let (last, events) = events.split_last().expect("events");
    let in_order = events.iter().zip(1..).all(|(&event, number)| event == format!("data: {number}"));
    assert!(in_order, "events are missing:\n{text}");
    workers.iter().for_each(Stray::wait_gone);
    match (downloaded.succeeded && *last == "data: over", comes) {
        (true, _) if stopped > STOP => format!("ends {} s after SIGTERM", stopped.as_secs()),
        (true, true) => RIGHT.to_owned(),
        (true, false) => EVENTS_WAIT.to_owned(),
        (false, _) => "cut".to_owned(),
    }
}

/// What is seen of events that a server keeps back.
pub(crate) const EVENTS_WAIT: &str = "events come at the end";

/// When a stream has to be over after SIGTERM: well below the minute after which the application would break it off, or it
/// is broken off after 5 s, where the server starts the application.
const STOP: Duration = Duration::from_secs(30);

/// The client goes while the handler waits for something else: the handler is told.
pub(crate) fn gone_while_waiting(place: &Place) {
    let site = place.site();
    let journal = site.journal();
    let mut client = site.connect();
    client.send(site.head_of("GET", &format!("/wait?seconds=6&journal={}", journal.path()), "").as_bytes());
    journal.wait_for("wait: began");
    drop(client);
    let gone = Instant::now();
    let end = eventually("the end of the wait", || journal.lines().into_iter().nth(1));
    let seen = match &end[..] {
        "wait: over" => NOT_TOLD.to_owned(),
        "wait: ConnectionAborted" if gone.elapsed() < TOLD => RIGHT.to_owned(),
        "wait: ConnectionAborted" => format!("told after {} s", gone.elapsed().as_secs()),
        _ => panic!("{end}"),
    };
    place.expect(Case::GoneWhileWaiting, &seen);
    site.expect_hello();
}

/// What is seen when the handler is not.
pub(crate) const NOT_TOLD: &str = "not told";

/// The client goes while the handler sends events: the handler is told, by its web server or by a write that fails.
pub(crate) fn gone_during_events(place: &Place) {
    let site = place.site();
    let journal = site.journal();
    let has_come = |line: &str| journal.lines().iter().any(|found| found == line);
    let mut client = site.connect();
    client.send(site.head_of("GET", &format!("/events?journal={}", journal.path()), "").as_bytes());
    journal.wait_for("events: 3");
    drop(client);
    let gone = Instant::now();
    let is_told = eventually("the end of the events", || {
        if has_come("events: given up") { Some(true) } else { has_come("events: 80").then_some(false) }
    });
    let seen = match is_told {
        false => NOT_TOLD.to_owned(),
        true if gone.elapsed() < TOLD => RIGHT.to_owned(),
        true => format!("told after {} s", gone.elapsed().as_secs()),
    };
    place.expect(Case::GoneDuringEvents, &seen);
    site.expect_hello();
}

/// How soon a handler is told: about a second after the web server knows.
const TOLD: Duration = Duration::from_secs(3);

/// A client that reads slowly gets all, though it takes longer than a write may be blocked. Its 48 MiB are more than what
/// the sockets on the way hold.
pub(crate) fn slow_reader(place: &Place) {
    const LENGTH: usize = 48 << 20;
    let Some(curl) = Program::installed("curl") else { skip!("curl is not installed") };
    let site = place.site_with(&[("FCGI_WRITE_TIME", "2")]);
    let download = Download::start(&curl, &site, &format!("/block?count={LENGTH}"), &["--limit-rate", "8M"]);
    let downloaded = download.end();
    let is_whole = downloaded.succeeded && downloaded.body == pattern(LENGTH);
    place.expect(Case::SlowReader, if is_whole { RIGHT } else { "cut" });
    site.expect_hello();
}

/// HEAD, 204 and 304 have no body, whatever the handler writes; and the next response on the connection is right.
pub(crate) fn responses_without_a_body(place: &Place) {
    let site = place.site();
    let client = site.client();
    for status in [204, 304, 204] {
        // BusyBox closes a connection without a word.
        let get = |path: &str| client.get(&site.path(path)).or_else(|_| site.client().get(&site.path(path)));
        let answer = get(&format!("/bodiless?status={status}")).expect("an answer");
        assert_eq!((answer.status(), answer.body().len()), (status, 0));
        assert_eq!(get("/hello").expect("an answer").text(), "Hello, World!");
    }
    place.expect(Case::Bodiless, RIGHT);
    // The length that the body of GET would have is not known.
    let mut head = site.connect();
    head.write_all(site.head_of("HEAD", "/bodiless", "").as_bytes()).expect("sent");
    let mut answer = String::new();
    head.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{answer}");
    let has_length = answer.to_ascii_lowercase().contains("content-length");
    assert!(!has_length || place.server.invents_lengths, "{answer}");
    place.expect(Case::Head, RIGHT);
}

/// What the application writes to FCGI_STDERR, and why a handler failed, is in the server's error log.
pub(crate) fn stderr_in_the_error_log(place: &Place) {
    let site = place.site();
    let is_logged = |text: &str| site.web.error_log().contains(text);
    for number in 0..3 {
        let text = format!("the-application-says-{number}");
        assert_eq!(site.get(&format!("/log?text={text}")).text(), "logged");
        if place.server.logs_stderr {
            eventually("the application's words in the error log", || is_logged(&text).then_some(()));
        }
    }
    assert_eq!(site.get("/panic").status(), 500);
    if place.server.logs_stderr {
        eventually("the panic in the error log", || is_logged("asked to panic").then_some(()));
    } else {
        assert!(!is_logged("the-application-says"), "this server does log it");
    }
}

pub(crate) fn connections(place: &Place) {
    let site = place.counted_site();
    let client = site.client();
    for _ in 0..20 {
        let client = if place.server.clients_share_connections { &site.client() } else { &client };
        assert_eq!(client.get(&site.path("/hello")).expect("an answer").text(), "Hello, World!");
    }
    match place.transport.split('_').next() {
        Some("kept") => assert_eq!(site.connections(), 1),
        // Each thread of the server may have one.
        Some("shared" | "multiplexed") => assert!(site.connections() < 5, "{}", site.connections()),
        _ => assert_eq!(site.connections(), 20),
    }
}

pub(crate) fn parallel_clients(place: &Place) {
    let site = place.site();
    thread::scope(|scope| {
        for number in 0..place.server.clients {
            let site = &site;
            scope.spawn(move || {
                for round in 0..4 {
                    let body = pattern(1000 * number + round);
                    let answer = site.post("/echo", &body);
                    let whole = answer.status() == 200 && answer.body() == body;
                    assert!(whole, "{} bytes came back as {answer:?}", body.len());
                }
            });
        }
    });
}

/// The server is restarted in its graceful way while clients ask and one waits for its answer: nobody is turned away.
pub(crate) fn restart_of_the_server(place: &Place) {
    let site = place.site();
    let (journal, signpost) = (site.journal(), site.signpost());
    let page = format!("/hold?until={}&journal={}", signpost.display(), journal.path());
    thread::scope(|scope| {
        let held = scope.spawn(|| site.get(&page));
        journal.wait_for("hold: began");
        under_load(&site, place.server.restarts_cleanly, |more| {
            let restart = site.restart();
            fs::write(&signpost, "").expect("the signpost can be set up");
            restart.wait();
            more();
        });
        let answer = held.join().expect("the request under way was answered");
        assert_eq!((answer.status(), &answer.text()[..]), (200, "held"));
    });
}

/// Each of the launcher's two workers is told to end while clients ask: it answers what it has, another takes its
/// place, and no client is turned away, unless by a server that meets the end of a kept connection and gives up.
pub(crate) fn restart_of_the_workers(place: &Place) {
    let site = place.supervised_site();
    let first = two_new_workers(&site, &[]);
    site.expect_hello();
    let cleanly = place.server.sends_again || !place.transport.contains("kept");
    under_load(&site, cleanly, |more| {
        for &pid in &first {
            let worker = Stray::adopt(pid);
            worker.signal(Signal::TERM);
            worker.wait_gone();
            eventually("its successor", || (site.workers().len() == 2).then_some(()));
            more();
        }
    });
    two_new_workers(&site, &first);
}

/// The launcher's two workers are killed at once while a client asks all the time, and asks again when the server
/// answers with an error: the socket stays open, requests wait in its queue, and new workers answer them.
pub(crate) fn killed_workers(place: &Place) {
    let site = place.supervised_site();
    let answered = || {
        let answer = || site.client().get(&site.path("/hello")).ok().filter(|answer| answer.status() == 200);
        assert_eq!(eventually("an answer from a worker", answer).text(), "Hello, World!");
    };
    answered();
    let workers = two_new_workers(&site, &[]);
    for &pid in &workers {
        Stray::adopt(pid).signal(Signal::KILL);
    }
    answered();
    two_new_workers(&site, &workers);
    answered();
}

/// Waits until there are two workers, none of which is an old one.
fn two_new_workers(site: &Site, old: &[u32]) -> Vec<u32> {
    eventually("two workers, all of them new", || {
        let now = site.workers();
        (now.len() == 2 && !now.iter().any(|pid| old.contains(pid))).then_some(now)
    })
}

/// What the worker says of its start, in lines that begin so.
fn told_of_start(site: &Site, begin: &str) -> Vec<String> {
    let text = site.get("/process").text();
    text.lines().filter_map(|line| line.strip_prefix(begin)).map(str::to_owned).collect()
}

pub(crate) fn worker_environment(place: &Place) {
    let mut names = told_of_start(&place.site(), "variable ");
    names.sort_unstable();
    assert_eq!(names, place.server.worker_environment);
}

/// Descriptor 0 is the listening socket; no more is left open than the server is known for.
pub(crate) fn worker_descriptors(place: &Place) {
    let mut kinds = Vec::new();
    for line in told_of_start(&place.site(), "descriptor ") {
        let (number, target) = line.split_once(' ').expect("a number and a target");
        let number = number.parse().expect("a number");
        // Whoever started the tests may have left something open to everybody.
        let inherited = proc::descriptor(process::id(), number).is_some_and(|ours| ours == Path::new(target));
        if number < 3 || !inherited {
            let kind = target.rsplit('/').next().unwrap_or_default();
            kinds.push(kind.split_once(':').map_or(kind, |(kind, _)| kind).to_owned());
        }
    }
    assert_eq!(kinds, place.server.worker_descriptors);
}

/// The worker dies over a request: that is an error for its client, and another takes its place.
pub(crate) fn worker_crash(place: &Place) {
    let site = place.site();
    let pid = || Some(site.get("/process")).filter(|answer| answer.status() == 200).map(|answer| answer.text());
    let before = pid().expect("a worker");
    assert!((500..600).contains(&site.get("/crash").status()));
    let after = eventually("an answer from a new worker", pid);
    assert_ne!(before.lines().next(), after.lines().next());
}

/// The server ends, and the worker with it: by SIGTERM, since it is given no other chance to remove anything.
pub(crate) fn worker_end(place: &Place) {
    let site = place.site();
    site.expect_hello();
    let workers: Vec<Stray> = site.workers().into_iter().map(Stray::adopt).collect();
    assert_eq!(workers.len(), 1);
    let _kept = site.end();
    workers.iter().for_each(Stray::wait_gone);
}

/// A file behind an application that only says who may see it.
const GUARDED: &str = "for ann's eyes only";

/// The server with that file, and a client's request for it. What it says of who it is, in the query, decides;
/// some servers do not ask the application unless there are a name and a password.
fn guarded(place: &Place) -> (Site, impl Fn(&str) -> Answer) {
    let site = place.site();
    site.put("guarded.txt", GUARDED);
    let (client, path) = (site.client(), site.path("/guarded.txt"));
    let ask = move |who: &str| {
        let password = [("Authorization", "Basic c29tZWJvZHk6c2VjcmV0")];
        client.get_with(&format!("{path}?who={who}"), &password).expect("an answer")
    };
    (site, ask)
}

pub(crate) fn authorizer_grants(place: &Place) {
    let (_site, ask) = guarded(place);
    for _ in 0..3 {
        let answer = ask("ann");
        assert_eq!((answer.status(), &answer.text()[..]), (200, GUARDED));
    }
}

/// Whoever is denied gets the application's own answer, or the server's own page.
pub(crate) fn authorizer_denies(place: &Place) {
    let (site, ask) = guarded(place);
    for _ in 0..3 {
        let answer = ask("bob");
        assert_eq!(answer.status(), place.server.denial);
        let text = answer.text();
        assert!(if place.server.denial == 403 { text == "not you" } else { !text.contains(GUARDED) }, "{text}");
    }
    let post = site.post("/guarded.txt?who=bob", b"25 bytes of a long letter");
    assert_eq!(post.status(), place.server.denial);
}

/// An authorizer that panics has not granted anything.
pub(crate) fn authorizer_that_panics_denies(place: &Place) {
    let (_site, ask) = guarded(place);
    let answer = ask("panic");
    assert!([500, place.server.denial].contains(&answer.status()), "{answer:?}");
    assert!(!answer.text().contains(GUARDED));
    assert_eq!(ask("ann").text(), GUARDED);
}

/// Four clients ask all the time while `act` runs, each time over a connection of its own, and get the right answer
/// every time, or, unless `cleanly`, an error of the server's. What `act` is given waits until another 20 right answers
/// have come.
fn under_load(site: &Site, cleanly: bool, act: impl FnOnce(&dyn Fn())) {
    let (answers, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let more = || {
        let target = answers.load(Ordering::SeqCst) + 20;
        eventually("20 more answers", || (answers.load(Ordering::SeqCst) >= target).then_some(()));
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        let close = [("Connection", "close")];
                        let answer = match site.client().get_with(&site.path("/hello"), &close) {
                            Err(_) if !cleanly => continue,
                            Ok(answer) if !cleanly && (500..600).contains(&answer.status()) => continue,
                            answer => answer.expect("an answer"),
                        };
                        assert_eq!((answer.status(), &answer.text()[..]), (200, "Hello, World!"));
                        answers.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            more();
            act(&more);
        }));
        over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("every client got all its answers");
        }
        if let Err(panic) = acted {
            std::panic::resume_unwind(panic);
        }
    });
}

/// What `/bytes` answers.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..251).collect();
    let mut bytes = block.repeat(length / 251 + 1);
    bytes.truncate(length);
    bytes
}

/// What `/digest` answers to the first `length` bytes of the pattern, as sha256sum says.
pub(crate) fn digest(length: usize) -> String {
    let hex = match length {
        0 => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        10_000 => "0cd0bf930677960951dda8588edcb6b293c0c3b26ef3ba72cddff4ddfc6822c7",
        14_336 => "dfeaa0be9dffb4e8b9754c16d94483563bcdba0ffcd8aa19c7e2e8e3660947e3",
        20_480 => "efb584b659f4448b8ee6ca640cceaf89613a23fad69e379d3a8685c334e506b0",
        57_344 => "0a21dc637fca91c50d107df9d4e3683620f1ba115ed51fdf39f0807dda0cd2f8",
        65_536 => "4b640d85ab3ba30fd02c9fc9db4a8928f416322ad27022ea58a65aaee68a4df2",
        1_048_576 => "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769",
        52_428_800 => "3a7aef326b898081e6fb7b9599db2618b4f5e5301b64078f0f4e1f5382f634b9",
        _ => panic!("the digest of {length} bytes of the pattern is not known"),
    };
    format!("{length} {hex}\n")
}
