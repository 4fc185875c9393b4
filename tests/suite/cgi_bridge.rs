//! `cgi-bridge`, which runs CGI programs: those of tests/fixtures/cgi.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use fcgi_tests::{
    Address, Connection, Program, Signal, Stray, TempDir, eventually, once_is_enough, proc, repository, temp_dir, wire,
};

use crate::app::{App, fails_with_one_line};

/// A running bridge, and a folder for what its programs note.
struct Bridge {
    app: App,
    dir: TempDir,
}

fn bridge(arguments: &[&str]) -> Command {
    let mut command = Program::ours("cgi-bridge").command();
    command.args(arguments);
    command
}

fn programs() -> PathBuf {
    repository().join("tests/fixtures/cgi").canonicalize().expect("the programs are there")
}

impl Bridge {
    fn start(arguments: &[&str]) -> Self {
        let dir = temp_dir();
        let address = Address::Unix(dir.path().join("bridge.sock"));
        Self { app: App::on_descriptor_0_as(bridge(arguments), &address), dir }
    }

    /// Sends a request for a program, without the end of its body.
    fn begin(&self, program: &str, more: &[(&str, &str)], body: &[u8]) -> Connection {
        let (root, journal, signpost) = (programs().display().to_string(), self.text("journal"), self.text("signpost"));
        let params =
            [&[("DOCUMENT_ROOT", &root[..]), ("HTTP_X_JOURNAL", &journal), ("HTTP_X_SIGNPOST", &signpost)], more];
        let bytes = wire::request(1, 0, &format!("/{program}"), &params.concat(), body);
        let mut connection = self.app.connect();
        connection.send(&bytes[..bytes.len() - 8]);
        connection
    }

    #[track_caller]
    fn ask(&self, program: &str, more: &[(&str, &str)], body: &[u8]) -> wire::Response {
        let mut connection = self.begin(program, more, body);
        connection.send(&wire::record(wire::STDIN, 1, &[]));
        let response = connection.response(1);
        connection.expect_closed();
        response
    }

    /// What the program says that tells what it was given, in lines.
    #[track_caller]
    fn environment(&self, path: &str, more: &[(&str, &str)]) -> Vec<String> {
        self.ask(path, more, b"").text().lines().map(str::to_owned).collect()
    }

    fn text(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.text("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `hold.sh` has begun, and takes charge of it and of what it started.
    #[track_caller]
    fn held(&self) -> Vec<Stray> {
        let line = eventually("a program that runs", || self.journal().pop());
        line.split(' ').map(|pid| Stray::adopt(pid.parse().expect("a pid"))).collect()
    }

    fn set_signpost(&self) {
        fs::write(self.text("signpost"), "").expect("a signpost");
    }
}

/// Whether a line of the error log says this of a program.
#[track_caller]
fn expect_logged(response: &wire::Response, words: &str) {
    let log = String::from_utf8_lossy(&response.stderr);
    assert!(log.lines().any(|line| line.starts_with("cgi-bridge: ") && line.contains(words)), "no '{words}' in\n{log}");
}

#[test]
fn a_program_is_given_its_params_and_nothing_of_ours() {
    let dir = temp_dir();
    let mut command = bridge(&["--env", "GIVEN=a=b", "--env", "TAKEN", "--env", "ABSENT"]);
    command.env("SECRET", "of ours").env("TAKEN", "from us").env("HTTP_PROXY", "of ours").env("PATH", "/usr/bin:/bin");
    let app = App::on_descriptor_0_as(command, &Address::Unix(dir.path().join("bridge.sock")));
    let folder = programs().display().to_string();
    let more = [
        ("DOCUMENT_ROOT", &folder[..]),
        ("HTTP_PROXY", "http://elsewhere.test"),
        ("HTTP_X_ODD", "\u{e9}\n="),
        ("HTTP=X", "no name"),
        ("", "no name"),
        ("HTTP_X_NUL", "a\0b"),
        ("CONTENT_LENGTH", "-1"),
        ("HTTP_X_TWICE", "first"),
        ("HTTP_X_TWICE", "last"),
    ];
    let mut connection = app.connect();
    connection.send(&wire::request(1, 0, "/environment.sh", &more, b""));
    let text = connection.response(1).text();
    let (front, environment) = text.split_once("arguments\n").expect("three parts");
    assert_eq!(front, format!("{folder}\n{folder}/environment.sh with 0 "));
    let want = [
        "=",
        "DOCUMENT_URI=/environment.sh",
        "GATEWAY_INTERFACE=CGI/1.1",
        "GIVEN=a=b",
        "HTTP_X_ODD=\u{e9}",
        "HTTP_X_TWICE=last",
        "PATH=/usr/bin:/bin",
        "QUERY_STRING=",
        "REMOTE_ADDR=192.0.2.1",
        "REQUEST_METHOD=GET",
        "REQUEST_URI=/environment.sh",
        "SCRIPT_NAME=/environment.sh",
        "SERVER_PROTOCOL=HTTP/1.1",
        "TAKEN=from us",
    ];
    let (root, file) = (format!("DOCUMENT_ROOT={folder}"), format!("SCRIPT_FILENAME={folder}/environment.sh"));
    let want: BTreeSet<&str> = want.into_iter().chain([&root[..], &file]).collect();
    assert_eq!(environment.lines().collect::<BTreeSet<_>>(), want);
}

#[test]
fn names_and_paths_are_those_of_rfc_3875() {
    let bridge = Bridge::start(&[]);
    let folder = programs().display().to_string();
    let file = format!("{folder}/environment.sh");
    #[track_caller]
    fn check(bridge: &Bridge, path: &str, params: &[(&str, &str)], name: &str, path_info: &str) {
        let lines = bridge.environment(path, params);
        let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let folder = programs().display().to_string();
        assert_eq!(value("SCRIPT_NAME"), Some(name));
        assert_eq!(value("SCRIPT_FILENAME"), Some(&format!("{folder}/environment.sh")[..]));
        let translated = format!("{folder}{path_info}");
        let (info, translated) = match path_info {
            "" => (None, None),
            info => (Some(info), Some(&translated[..])),
        };
        assert_eq!((value("PATH_INFO"), value("PATH_TRANSLATED")), (info, translated));
    }
    let (with_tail, proxied) = (format!("{file}/a b/c"), format!("proxy:fcgi://127.0.0.1:9000{file}/a"));
    let over_unix = format!("proxy:unix:/run/app.sock|fcgi://unix{file}");
    // The file is found below the document root, and what follows it is cut off.
    check(&bridge, "environment.sh", &[], "/environment.sh", "");
    check(&bridge, "environment.sh/", &[], "/environment.sh", "/");
    check(&bridge, "environment.sh/a/../b", &[("SCRIPT_NAME", "/environment.sh/a/b")], "/environment.sh", "/a/b");
    check(&bridge, "environment.sh/a b//c", &[], "/environment.sh", "/a b//c");
    check(&bridge, "environment.sh", &[("PATH_INFO", "/a"), ("PATH_TRANSLATED", "/x")], "/environment.sh", "/a");
    // Caddy and h2o have the whole path there.
    check(&bridge, "", &[("SCRIPT_NAME", ""), ("PATH_INFO", "/environment.sh/a")], "/environment.sh", "/a");
    // nginx names the file, and the name is the whole path.
    check(&bridge, "page", &[("SCRIPT_FILENAME", &file)], "/page", "");
    check(&bridge, "page/a", &[("SCRIPT_FILENAME", &file), ("PATH_INFO", "/a")], "/page", "/a");
    check(&bridge, "page/a b/c", &[("SCRIPT_FILENAME", &with_tail)], "/page", "/a b/c");
    // lighttpd names the file, and splits.
    let split = [("SCRIPT_FILENAME", &file[..]), ("PATH_INFO", "/a"), ("REQUEST_URI", "/a/%61"), ("DOCUMENT_URI", "")];
    check(&bridge, "a", &split, "/a", "/a");
    // Apache writes where it sends the request.
    check(&bridge, "page/a", &[("SCRIPT_FILENAME", &proxied)], "/page", "/a");
    check(&bridge, "page", &[("SCRIPT_FILENAME", &over_unix)], "/page", "");
}

#[test]
fn what_cannot_be_run_is_refused_with_a_line_in_the_log() {
    let bridge = Bridge::start(&[]);
    for (path, params, status, words) in [
        ("nothing.sh", &[][..], 404, "is not there"),
        ("folder/nothing.sh/a", &[], 404, "is not there"),
        ("folder", &[], 403, "is no file"),
        ("plain.txt", &[], 403, "cannot be executed: Permission denied"),
        ("plain.txt/a", &[], 403, "cannot be executed"),
        ("lost.sh", &[], 500, "(its interpreter?)"),
        ("a/../say.sh", &[], 403, "is no plain path"),
        ("x", &[("SCRIPT_FILENAME", "say.sh")], 403, "is no plain path"),
        ("x", &[("DOCUMENT_ROOT", "")], 404, "neither SCRIPT_FILENAME nor DOCUMENT_ROOT"),
        ("x", &[("SCRIPT_FILENAME", "/a\0b")], 404, "'/a\\x00b' is not there"),
    ] {
        let response = bridge.ask(path, params, b"");
        assert_eq!((response.status(), response.text()), (status, format!("{status}\n")), "{path}");
        expect_logged(&response, words);
    }
}

#[test]
fn nothing_is_run_that_is_not_allowed() {
    let folder = programs().display().to_string();
    let bridge = Bridge::start(&["--allow", &format!("{folder}/say.sh"), "--allow", &format!("{folder}/folder")]);
    let say = [("HTTP_X_SAY", "A: b\\n\\nsaid")];
    assert_eq!(bridge.ask("say.sh", &say, b"").text(), "said");
    assert_eq!(bridge.ask("folder/../say.sh", &[say[0], ("SCRIPT_NAME", "/say.sh")], b"").text(), "said");
    for path in ["log.sh", "cat.sh"] {
        let response = bridge.ask(path, &[], b"");
        assert_eq!(response.status(), 403);
        expect_logged(&response, "is nothing that --allow names");
    }
}

#[test]
fn answers_become_answers() {
    let bridge = Bridge::start(&[]);
    let long = format!("A: b\\nX-Long: {}\\n\\nbody", "x".repeat(40_000));
    for (says, status, body) in [
        ("Content-Type: text/plain\\n\\nbody", 200, "body"),
        ("Content-Type: text/plain\\r\\n\\r\\nbody", 200, "body"),
        ("Status: 404 Not Here\\nA: b\\n\\n\\nbody", 404, "\nbody"),
        ("Location: /there\\n\\n", 302, ""),
        ("Status: 301\\nLocation: http://there.test/\\n\\n", 301, ""),
        ("HTTP/1.1 410 Gone\\r\\nA: b\\r\\n\\r\\nbody", 410, "body"),
        (&long, 200, "body"),
    ] {
        let response = bridge.ask("say.sh", &[("HTTP_X_SAY", says)], b"");
        assert_eq!((response.status(), &response.text()[..]), (status, body), "{says:.50}");
        assert_eq!((response.stderr, response.app_status), (vec![], 0), "{says:.50}");
    }
    let response = bridge.ask("say.sh", &[("HTTP_X_SAY", "Set-Cookie: a=1\\nset-cookie: b=2\\nX-A:c \\n\\n")], b"");
    let head = String::from_utf8_lossy(&response.stdout).into_owned();
    assert!(head.contains("\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-A: c\r\n"), "{head}");
}

/// Its reason phrase is the program's; what belongs to the connection between web server and client is not.
#[test]
fn fields_of_one_connection_are_left_out() {
    let bridge = Bridge::start(&[]);
    let says =
        "Status: 404 Not Here\\nConnection: close\\nproxy-status: x\\nContent-Type: a/b\\nContent-Type: c/d\\n\\nbody";
    let response = bridge.ask("say.sh", &[("HTTP_X_SAY", says)], b"");
    let head = String::from_utf8_lossy(&response.stdout).into_owned();
    assert!(head.starts_with("Status: 404 Not Here\r\n") || head.contains("\r\nStatus: 404 Not Here\r\n"), "{head}");
    assert!(!head.contains("onnection") && !head.contains("proxy") && !head.contains("a/b"), "{head}");
    assert_eq!((response.text(), response.app_status), ("body".to_owned(), 0));
    expect_logged(&response, "only the web server may send it: Connection, proxy-status");
    let chunks = "HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nhi\\r\\n0\\r\\n\\r\\n";
    let response = bridge.ask("say.sh", &[("HTTP_X_SAY", chunks)], b"");
    assert_eq!(response.status(), 502);
    expect_logged(&response, "its body is in chunks");
}

/// A program that was killed has not said all: what was sent of it cannot pass for whole.
#[test]
fn the_output_of_a_program_that_is_killed() {
    let bridge = Bridge::start(&[]);
    let mut connection = bridge.begin("killed.sh", &[("HTTP_X_WAIT", "1")], b"");
    connection.send(&wire::record(wire::STDIN, 1, &[]));
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).expect("until the end");
    assert!(bytes.ends_with(b"\x01\x07\0\x01\0\0\0\0\0\0\0\0\0\0\0\0"), "{}", bytes.escape_ascii());
    for part in [&b"\r\n\r\nbegun"[..], b"killed.sh' ended by signal: 9"] {
        assert!(bytes.windows(part.len()).any(|piece| piece == part), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_answer_is_a_502_with_a_line_in_the_log() {
    let bridge = Bridge::start(&[]);
    let endless = "x".repeat(70_000);
    let cases = [
        ("", "its output ended without a header block"),
        ("Content-Type: text/plain", "its output ended without a header block"),
        ("Hello, World!\\n", "its header block is malformed"),
        ("\\nHello, World!", "its header block is empty"),
        ("Status: bad\\n\\n", "its status is 'bad'"),
        ("A b: c\\n\\n", "its header block is malformed"),
        (&endless, "its header block is"),
    ];
    // Side by side: some take the two seconds that a program may go on behind its output.
    thread::scope(|scope| {
        for (says, words) in cases {
            let bridge = &bridge;
            scope.spawn(move || {
                let response = bridge.ask("say.sh", &[("HTTP_X_SAY", says)], b"");
                assert_eq!((response.status(), &response.text()[..]), (502, "502\n"), "{says:.50}");
                expect_logged(&response, words);
            });
        }
    });
    assert_eq!(bridge.ask("say.sh", &[("HTTP_X_SAY", "A: b\\n\\nwell")], b"").text(), "well");
}

#[test]
fn the_standard_error_is_the_error_log() {
    let response = Bridge::start(&[]).ask("log.sh", &[], b"");
    assert_eq!((response.status(), &response.text()[..], response.app_status), (200, "logged", 3));
    let log = String::from_utf8_lossy(&response.stderr).into_owned();
    assert!(log.starts_with("the-program-says\n"), "{log}");
    expect_logged(&response, "log.sh' ended by exit status: 3");
}

/// Each line of the body is answered before the next is sent.
#[test]
fn both_directions_stream_at_once() {
    let bridge = Bridge::start(&["--duplex"]);
    for address in ["unix", "tcp"] {
        let over_tcp;
        let mut connection = if address == "unix" {
            bridge.begin("cat.sh", &[("CONTENT_LENGTH", "")], b"")
        } else {
            over_tcp = App::on_descriptor_0_as(self::bridge(&["--duplex"]), &Address::loopback(0));
            let root = programs().display().to_string();
            let bytes = wire::request(1, 0, "/cat.sh", &[("DOCUMENT_ROOT", &root), ("CONTENT_LENGTH", "")], b"");
            let mut connection = over_tcp.connect();
            connection.send(&bytes[..bytes.len() - 8]);
            connection
        };
        let mut answer = Vec::new();
        for number in 0..20 {
            let line = format!("line {number}\n");
            connection.send(&wire::record(wire::STDIN, 1, line.as_bytes()));
            while !answer.ends_with(line.as_bytes()) {
                let record = connection.record();
                assert_eq!(record.kind, wire::STDOUT, "{record:?}");
                answer.extend(record.content);
            }
        }
        connection.send(&wire::record(wire::STDIN, 1, &[]));
        assert_eq!(connection.response(1).stdout, b"");
    }
}

/// The program has said something, but its answer does not begin before the body has ended; then it leaves as it comes.
#[test]
fn an_answer_begins_when_the_body_has_ended() {
    let bridge = Bridge::start(&[]);
    let mut connection = bridge.begin("half.sh", &[("CONTENT_LENGTH", "")], b"");
    connection.send(&wire::record(wire::STDIN, 1, b"first\n"));
    eventually("a program that has answered", || (bridge.journal() == ["said"]).then_some(()));
    connection.send(&wire::record(wire::STDIN, 1, b"second\n"));
    eventually("a program that reads on", || (bridge.journal().len() == 2).then_some(()));
    connection.send(&wire::record(wire::STDIN, 1, &[]));
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nfirst\nsecond\n") {
        answer.extend(connection.record().content);
    }
    bridge.set_signpost();
    assert_eq!(connection.response(1).stdout, b"held\n");
}

/// Whoever reads nothing of the answer before he has sent all of a large body gets all of it.
#[test]
fn an_answer_waits_for_one_who_sends_first() {
    for arguments in [&[][..], &["--duplex"]] {
        one_who_sends_first_gets_all(&Bridge::start(arguments));
    }
}

#[track_caller]
fn one_who_sends_first_gets_all(bridge: &Bridge) {
    let body: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let response = bridge.ask("cat.sh", &[], &body);
    assert!(response.status() == 200 && response.body() == body, "{} bytes", response.body().len());
}

#[test]
fn a_program_need_not_read() {
    let bridge = Bridge::start(&[]);
    let mut connection = bridge.begin("deaf.sh", &[("CONTENT_LENGTH", "100000000")], &[b'x'; 1_000_000]);
    let response = connection.response(1);
    assert_eq!((response.status(), &response.text()[..]), (403, "not wanted"));
}

#[test]
fn time_ends() {
    let bridge = Bridge::start(&["--time-limit", "1"]);
    for stubborn in ["", "1"] {
        let mut connection = bridge.begin("hold.sh", &[("HTTP_X_STUBBORN", stubborn)], b"");
        connection.send(&wire::record(wire::STDIN, 1, &[]));
        let held = bridge.held();
        let response = connection.response(1);
        assert_eq!((response.status(), response.app_status), (504, 128 + 9));
        expect_logged(&response, "hold.sh': its time is over");
        held.iter().for_each(Stray::wait_gone);
        fs::remove_file(bridge.text("journal")).expect("a journal");
    }
}

/// It ends with what it started, whether it has said something or not.
#[test]
fn a_program_ends_when_its_client_goes() {
    let over_unix = Bridge::start(&[]);
    let over_tcp = Bridge { app: App::on_descriptor_0_as(bridge(&[]), &Address::loopback(0)), dir: temp_dir() };
    for bridge in [over_unix, over_tcp] {
        for (complete, stubborn) in [(true, ""), (false, ""), (true, "1")] {
            let mut connection = bridge.begin("hold.sh", &[("HTTP_X_STUBBORN", stubborn)], b"");
            if complete {
                connection.send(&wire::record(wire::STDIN, 1, &[]));
            }
            let held = bridge.held();
            assert!(held.len() == 2 && held.iter().all(Stray::is_alive));
            drop(connection);
            held.iter().for_each(Stray::wait_gone);
            fs::remove_file(bridge.text("journal")).expect("a journal");
        }
        let says = [("HTTP_X_SAY", "A: b\\n\\nwell")];
        assert_eq!(bridge.ask("say.sh", &says, b"").text(), "well");
    }
}

/// Half an upload never passes for a whole one.
#[test]
fn a_program_ends_when_its_upload_is_cut() {
    let bridge = Bridge::start(&[]);
    let mut connection = bridge.begin("keep.sh", &[("CONTENT_LENGTH", "1000")], &[b'x'; 999]);
    eventually("a program that runs", || (bridge.journal() == ["began"]).then_some(()));
    connection.send(&wire::record(wire::STDIN, 1, &[]));
    let response = connection.response(1);
    assert_eq!(response.status(), 400);
    expect_logged(&response, "the body is shorter than was promised");
    let mut connection = bridge.begin("keep.sh", &[("CONTENT_LENGTH", "1000")], &[b'x'; 500]);
    eventually("a second program", || (bridge.journal().len() == 2).then_some(()));
    connection.end_sending();
    connection.expect_closed();
    assert_eq!(bridge.journal(), ["began", "began"]);
    assert_eq!(bridge.ask("keep.sh", &[], &[b'x'; 1000]).text(), "kept");
    assert_eq!(bridge.journal(), ["began", "began", "began", "whole"]);
}

#[test]
fn no_more_run_at_once_than_may() {
    let bridge = Bridge::start(&["--programs", "2"]);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(|| bridge.ask("count.sh", &[], b"").text())).collect();
        eventually("two programs", || (bridge.journal().len() == 2).then_some(()));
        bridge.set_signpost();
        for client in clients {
            assert_eq!(client.join().expect("an answer"), "counted");
        }
    });
    let counts: Vec<u32> = bridge.journal().iter().map(|line| line.trim().parse().expect("a number")).collect();
    assert!(counts.len() == 6 && counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
}

/// What is under way ends in its time; what is not done by then is told to.
#[test]
fn the_bridge_ends_with_its_programs() {
    for (grace, answered) in [("60", true), ("1", false)] {
        let mut bridge = Bridge::start(&["--grace", grace]);
        let mut connection = bridge.begin("hold.sh", &[], b"");
        connection.send(&wire::record(wire::STDIN, 1, &[]));
        let held = bridge.held();
        bridge.app.process.signal(Signal::TERM);
        if answered {
            bridge.set_signpost();
            assert_eq!(connection.response(1).text(), "held");
        }
        assert!(bridge.app.process.wait_exit().success());
        held.iter().for_each(Stray::wait_gone);
    }
}

/// As behind any web server, what has nothing to do with the answer may stay.
#[test]
fn what_works_in_the_background_is_left_alone() {
    let bridge = Bridge::start(&[]);
    let response = bridge.ask("background.sh", &[], b"");
    let left = Stray::adopt(response.text().parse().expect("a pid"));
    assert!(left.is_alive());
}

#[test]
fn no_program_is_left_unreaped() {
    let bridge = Bridge::start(&[]);
    for _ in 0..5 {
        bridge.ask("say.sh", &[("HTTP_X_SAY", "A: b\\n\\nwell")], b"");
        bridge.ask("nothing.sh", &[], b"");
    }
    let pid = bridge.app.process.pid();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    assert!(proc::children(pid).is_empty() && children().is_ok_and(|text| text.is_empty()));
}

#[test]
fn a_bad_option_is_one_line() {
    once_is_enough!();
    for arguments in [&["--time-limit", "0"][..], &["--allow", "/no/such"], &["word"]] {
        let (status, line) = fails_with_one_line(bridge(arguments).stdin(Stdio::null()));
        assert!(status == 1 && line.starts_with("cgi-bridge: "), "{status}: {line}");
    }
    let output = bridge(&["--help"]).output().expect("it starts");
    assert!(output.status.success() && output.stdout.starts_with(b"Usage: cgi-bridge"));
}
