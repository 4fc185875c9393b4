//! `bench-app`. The script that measures it is a step of the test run: `bench-script`.

use std::thread;

use fcgi_tests::wire::{self, KEEP_CONN};
use fcgi_tests::{Address, TempDir, temp_dir};

use crate::app::{App, expect_hello};

fn bench_app() -> (App, TempDir) {
    let dir = temp_dir();
    (App::on_descriptor_0("bench-app", &Address::Unix(dir.path().join("app.sock"))), dir)
}

#[test]
fn it_routes_on_script_name() {
    let (app, _dir) = bench_app();
    expect_hello(&app.address);
    assert_eq!(app.ask("/hello/").status(), 404);
}

#[test]
fn its_large_page_is_10_mib_of_the_alphabet() {
    let (app, _dir) = bench_app();
    let mut alphabet = b"abcdefghijklmnopqrstuvwxyz".repeat((10 << 20) / 26 + 1);
    alphabet.truncate(10 << 20);
    assert!(app.ask("/big").body() == alphabet);
}

#[test]
fn its_echo_is_the_body() {
    let (app, _dir) = bench_app();
    for length in [0, 1, 4096, 100_000, 3 << 20] {
        let body: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let request = wire::request(1, KEEP_CONN, "/echo", &[], &body);
        let mut connection = app.connect();
        let mut writer = connection.try_clone().expect("a second handle");
        let response = thread::scope(|scope| {
            scope.spawn(|| writer.send(&request));
            connection.response(1)
        });
        assert!(response.body() == body, "the echo of {length} bytes differs");
    }
}
