//! `upload`, which puts what it is sent into a folder.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, Process, Program, TempDir, eventually, temp_dir};

use crate::app::{App, fails_with_one_line};

/// A running `upload` and its folder.
struct Upload {
    app: App,
    dir: TempDir,
}

impl Upload {
    fn start() -> Self {
        let dir = temp_dir();
        let folder = dir.path().join("files");
        fs::create_dir(&folder).expect("a folder");
        let (listener, address) = Address::Unix(dir.path().join("app.sock")).listen().expect("a listener");
        let mut command = Program::ours("upload").command();
        command.env("UPLOAD_DIR", &folder).env("UPLOAD_LIMIT", "3000000").stdin(Stdio::from(listener));
        Self { app: App { process: Process::start(&mut command), address }, dir }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// The names in the folder, hidden ones too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The status of the answer to an upload, and its text.
    #[track_caller]
    fn put(&self, path: &str, more: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut connection = self.app.connect();
        let request = wire::request(1, KEEP_CONN, path, &[&[("REQUEST_METHOD", "PUT")], more].concat(), body);
        let mut writer = connection.try_clone().expect("a second handle");
        let response = thread::scope(|scope| {
            scope.spawn(|| writer.send(&request));
            connection.response(1)
        });
        (response.status(), response.text())
    }
}

#[test]
fn an_upload_becomes_a_file() {
    let upload = Upload::start();
    for length in [0, 1, 70_000, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let name = format!("file-{length}.bin");
        assert_eq!(upload.put(&format!("/upload/{name}"), &[], &body), (201, format!("{name}: {length} bytes\n")));
        assert!(fs::read(upload.folder().join(name)).expect("a file") == body, "{length} bytes differ");
    }
    assert_eq!(upload.names(), ["file-0.bin", "file-1.bin", "file-3000000.bin", "file-70000.bin"]);
    // What is there stays as it is.
    assert_eq!(upload.put("/file-1.bin", &[], b"other").0, 409);
    assert_eq!(fs::read(upload.folder().join("file-1.bin")).expect("a file"), [0]);
    assert_eq!(upload.names().len(), 4);
}

#[test]
fn what_is_too_large_or_cut_leaves_nothing() {
    let upload = Upload::start();
    let large = vec![b'x'; 3_000_001];
    assert_eq!(upload.put("/a", &[], &large).0, 413);
    assert_eq!(upload.put("/a", &[("CONTENT_LENGTH", "")], &large).0, 413);
    assert_eq!(upload.put("/a", &[("CONTENT_LENGTH", "100")], b"cut"), (400, "the upload was cut\n".to_owned()));
    assert_eq!(upload.names(), [""; 0]);
    assert_eq!(upload.app.process.stderr().text(), "", "no fault of the program");
}

/// The beginning of an upload, of which more should come.
fn beginning() -> Vec<u8> {
    let params = wire::pairs(&[("REQUEST_METHOD", "PUT"), ("SCRIPT_NAME", "/a"), ("CONTENT_LENGTH", "1000000")]);
    let body = wire::record(wire::STDIN, 1, &[b'x'; 50_000]);
    [wire::begin(1, wire::RESPONDER, KEEP_CONN), wire::stream(wire::PARAMS, 1, &params, 65535), body].concat()
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let upload = Upload::start();
    let mut connection = upload.app.connect();
    connection.send(&beginning());
    let name = eventually("a file in the making", || upload.names().pop());
    assert!(name.starts_with(".upload-"), "nobody sees it under its name: {name}");
    connection.end_sending();
    eventually("an empty folder", || upload.names().is_empty().then_some(()));
    // When the web server says so instead, the connection goes on.
    let mut connection = upload.app.connect();
    connection.send(&[beginning(), wire::record(wire::ABORT_REQUEST, 1, &[])].concat());
    while connection.record().kind != wire::END_REQUEST {}
    assert_eq!(upload.names(), [""; 0]);
    connection.send(&wire::request(1, 0, "/b", &[], b"whole"));
    assert_eq!(connection.response(1).status(), 201);
    assert_eq!(upload.names(), ["b"]);
}

#[test]
fn names_stay_in_the_folder() {
    let upload = Upload::start();
    for path in ["/", "/..", "/.hidden", "/a b", "/a\\b", "/a\0b", "/\u{e9}", &format!("/{}", "x".repeat(101))] {
        assert_eq!(upload.put(path, &[], b"x").0, 400, "{path:?}");
    }
    assert_eq!(upload.put("/../../up", &[], b"x").0, 201);
    assert_eq!(upload.names(), ["up"]);
    assert_eq!(upload.put("/a", &[("REQUEST_METHOD", "GET")], b"").0, 405);
}

#[test]
fn a_bad_setting_is_one_line() {
    let dir = temp_dir();
    let missing = dir.path().join("missing").display().to_string();
    let here = dir.path().display().to_string();
    for settings in [
        &[][..],
        &[("UPLOAD_DIR", &missing[..])],
        &[("UPLOAD_DIR", &Program::ours("upload").path().display().to_string())],
        &[("UPLOAD_DIR", &here), ("UPLOAD_LIMIT", "much")],
    ] {
        let mut command = Program::ours("upload").command();
        let (status, line) = fails_with_one_line(command.envs(settings.iter().copied()));
        assert!(status == 1 && line.starts_with("upload: "), "{status}: {line}");
    }
}
