//! `form`, which shows a form and what was sent with it.

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, TempDir, temp_dir};

use crate::app::{App, unescape};

const TYPE: (&str, &str) = ("CONTENT_TYPE", "application/x-www-form-urlencoded");

fn form() -> (App, TempDir) {
    let dir = temp_dir();
    let app = App::on_descriptor_0("form", &Address::Unix(dir.path().join("app.sock")));
    (app, dir)
}

/// The answer to a form that was sent, on a connection of its own.
#[track_caller]
fn post(app: &App, more: &[(&str, &str)], body: &[u8]) -> wire::Response {
    let mut connection = app.connect();
    connection.send(&wire::request(1, 0, "/form", more, body));
    let response = connection.response(1);
    connection.expect_closed();
    response
}

#[test]
fn it_shows_a_form() {
    let (app, _dir) = form();
    let mut connection = app.connect();
    connection.send(&wire::request(1, KEEP_CONN, "/form", &[("QUERY_STRING", "name=%22%3E%3Cscript%3E")], &[]));
    let response = connection.response(1);
    assert_eq!(response.status(), 200);
    assert_eq!(response.header("Content-Type").as_deref(), Some("text/html; charset=utf-8"));
    let page = response.text();
    assert!(page.contains("<form method=post") && !page.contains("<script>"), "{page}");
    assert!(unescape(&page).contains("value=\"\"><script>\""), "{page}");
    // HEAD says the same without the page.
    connection.send(&wire::request(1, KEEP_CONN, "/form", &[("REQUEST_METHOD", "HEAD")], &[]));
    let head = connection.response(1);
    assert!(head.status() == 200 && head.body().is_empty() && head.header("Content-Length").is_some(), "{head:?}");
    connection.send(&wire::request(1, 0, "/form", &[("REQUEST_METHOD", "DELETE")], &[]));
    let refused = connection.response(1);
    assert_eq!((refused.status(), refused.header("Allow").as_deref()), (405, Some("GET, HEAD, POST")));
}

#[test]
fn it_shows_what_was_sent_as_text() {
    let (app, _dir) = form();
    let body = b"name=J%C3%BCrgen+%3Cscript%3E&message=a%26b%0D%0A%27c%27&x=1&x=%ff";
    let response = post(&app, &[TYPE], body);
    assert_eq!((response.status(), response.header("Cache-Control").as_deref()), (200, Some("no-store")));
    let page = response.text();
    assert!(!page.contains("<script>"), "the page is not escaped:\n{page}");
    let text = unescape(&page);
    for part in [
        "<h1>Thank you, J\u{fc}rgen <script></h1>",
        "<tr><th>message</th><td>a&b\r\n'c'</td></tr>",
        "<tr><th>x</th><td>1</td></tr>\n<tr><th>x</th><td>\u{fffd}</td></tr>",
    ] {
        assert!(text.contains(part), "{part} is not in the page:\n{page}");
    }
}

/// What is sent, the params and the body for it, and the status that says no.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [u8], u16);

#[test]
fn what_is_no_form_is_refused() {
    let (app, _dir) = form();
    let large = [b"name=", &[b'x'; 64 << 10][..]].concat();
    let cases: [Case<'_>; 6] = [
        ("another type", &[("CONTENT_TYPE", "multipart/form-data; boundary=x")], b"--x--", 415),
        ("no type", &[], b"name=x", 415),
        ("too much", &[TYPE], &large, 413),
        ("too much, of unknown length", &[TYPE, ("CONTENT_LENGTH", "")], &large, 413),
        ("a cut form", &[TYPE, ("CONTENT_LENGTH", "100")], b"name=x", 400),
        ("no name", &[TYPE], b"name=+&message=x", 422),
    ];
    for (what, more, body, status) in cases {
        assert_eq!(post(&app, more, body).status(), status, "{what}");
    }
    assert_eq!(app.process.stderr().text(), "", "no fault of the program");
}
