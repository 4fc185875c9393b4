//! `authorizer` and `filter`, the examples of the rarer roles.

use std::fs;

use fcgi_tests::wire;
use fcgi_tests::{Address, Process, Program, temp_dir};

use crate::app::{App, wait_until_it_listens};

#[test]
fn an_authorizer_reads_its_tokens_anew() {
    let dir = temp_dir();
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, "ann secret\n").expect("a file");
    let address = Address::Unix(dir.path().join("app.sock"));
    let mut command = Program::ours("authorizer").command();
    command.env("TOKENS", &tokens).env("FCGI_BIND", address.to_string());
    let app = App { process: Process::start(&mut command), address };
    wait_until_it_listens(&app.address);
    let ask = |authorization| {
        let params = wire::pairs(&[("REQUEST_METHOD", "GET"), ("HTTP_AUTHORIZATION", authorization)]);
        let mut connection = app.connect();
        connection.send(&[wire::begin(1, 2, 0), wire::stream(wire::PARAMS, 1, &params, 65535)].concat());
        let response = connection.response(1);
        (response.status(), response.header("Variable-REMOTE_USER"))
    };
    assert_eq!(ask("Bearer secret"), (200, Some("ann".into())));
    assert_eq!(ask("Bearer wrong"), (401, None));
    fs::write(&tokens, "").expect("a file");
    assert_eq!(ask("Bearer secret"), (401, None));
    // Nothing fails open.
    fs::remove_file(&tokens).expect("it is there");
    assert_eq!(ask("Bearer secret"), (500, None));
}

#[test]
fn a_filter_fills_in_a_page() {
    let dir = temp_dir();
    let app = App::on_descriptor_0("filter", &Address::Unix(dir.path().join("app.sock")));
    let page = b"<h1>Hello, <!--#echo var=\"REMOTE_USER\" --></h1>\n<!--#echo var=\"NONE\" -->\n";
    let params = wire::pairs(&[("REMOTE_USER", "<ann>"), ("FCGI_DATA_LENGTH", &page.len().to_string())]);
    for size in [1, 5, 65535] {
        let mut connection = app.connect();
        connection.send(&wire::begin(1, 3, 0));
        connection.send(&wire::stream(wire::PARAMS, 1, &params, size));
        connection.send(&wire::stream(wire::STDIN, 1, b"", size));
        connection.send(&wire::stream(wire::DATA, 1, page, size));
        let response = connection.response(1);
        assert_eq!(response.text(), "<h1>Hello, &#60;ann&#62;</h1>\n(none)\n");
        connection.expect_closed();
    }
}
