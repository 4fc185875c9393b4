//! examples/servers/README.md: what it shows is cut out of what the tests use.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use fcgi_tests::{Address, Process, Program, blocks, free_port, once_is_enough, repository, temp_dir, wire};

use crate::app::{expect_hello, wait_until_it_listens};

/// What stands in the page and in the configurations.
const NAMES: [(&str, &str); 10] = [
    ("unix//run/app.sock", "unix/@SOCKET@"),
    ("-connect /run/app.sock", "-connect @ADDRESS@"),
    ("/run/app.sock", "@SOCKET@"),
    ("/run/cgi.sock", "@SOCKET@"),
    ("/srv/git", "@REPOSITORIES@"),
    (":9000", ":@APPPORT@"),
    ("/usr/local/bin/app", "@APP@"),
    ("root /srv/www", "root @ROOT@"),
    ("home /srv/www", "home @ROOT@"),
    ("docroot @ROOT@", "docroot /srv/www"),
];

fn page() -> String {
    fs::read_to_string(repository().join("examples/servers/README.md")).expect("the page can be read")
}

/// Every line of a block is a line of the file `test=FILE`, and they come in the same order.
#[test]
fn what_is_shown_is_what_is_tested() {
    once_is_enough!();
    let mut shown = 0;
    for block in blocks(&page()) {
        let name = block.test.unwrap_or_else(|| panic!("line {}: a block without test=", block.line));
        if ["fcgi-spawn", "cgi-bridge", "hosts"].contains(&&name[..]) {
            continue;
        }
        let file = fs::read_to_string(repository().join("examples/servers").join(&name)).expect("a configuration");
        let mut lines = file.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        for line in block.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let wanted = NAMES.iter().fold(line.to_owned(), |line, (shown, used)| line.replace(shown, used));
            assert!(lines.any(|found| found == wanted), "line {}: '{wanted}' is not in {name}", block.line);
        }
        shown += 1;
    }
    assert!(shown > 5, "only {shown} blocks");
}

/// Every configuration has its place on the page, and every link leads to one.
#[test]
fn every_configuration_is_on_the_page() {
    once_is_enough!();
    let page = page();
    let folder = repository().join("examples/servers");
    for entry in fs::read_dir(&folder).expect("a folder of configurations") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        assert!(name == "README.md" || page.contains(&format!("]({name})")), "{name} is not on the page");
    }
    for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(folder.join(link).is_file(), "{link} is not there");
    }
}

/// Starts what a block says with fcgi-spawn in the foreground, with our own names, and waits for its socket.
#[track_caller]
fn launch(test: &str, names: &[(&str, PathBuf)], address: &Address) -> Process {
    let block = blocks(&page()).into_iter().find(|block| block.test.as_deref() == Some(test));
    let text = block.unwrap_or_else(|| panic!("no block is test={test}")).text;
    let mut command = Program::ours("fcgi-spawn").command();
    let mut words = text.split_whitespace().peekable();
    while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
        command.env(name, value);
        words.next();
    }
    assert_eq!(words.next(), Some("fcgi-spawn"));
    command.arg("-n").args(words.map(|word| {
        names.iter().find(|(shown, _)| *shown == word).map_or(PathBuf::from(word), |(_, ours)| ours.clone())
    }));
    let launcher = Process::start(&mut command);
    wait_until_it_listens(address);
    launcher
}

#[test]
fn the_launcher() {
    once_is_enough!();
    let dir = temp_dir();
    let socket = dir.path().join("app.sock");
    let address = Address::Unix(socket.clone());
    let app = Program::ours("test-app").path().to_owned();
    let _launcher = launch("fcgi-spawn", &[("/run/app.sock", socket), ("/usr/local/bin/app", app)], &address);
    expect_hello(&address);
}

#[test]
fn the_launcher_with_cgi_bridge() {
    once_is_enough!();
    let dir = temp_dir();
    let socket = dir.path().join("cgi.sock");
    let address = Address::Unix(socket.clone());
    let bridge = Program::ours("cgi-bridge").path().to_owned();
    let programs = repository().join("tests/fixtures/cgi");
    let root = programs.display().to_string();
    let names =
        [("/run/cgi.sock", socket), ("/usr/local/bin/cgi-bridge", bridge), ("/srv/www/cgi-bin", programs.clone())];
    let _launcher = launch("cgi-bridge", &names, &address);
    let mut connection = address.connect().expect("it listens");
    connection.send(&wire::request(1, 0, "/log.sh", &[("DOCUMENT_ROOT", &root)], b""));
    assert_eq!(connection.response(1).text(), "logged");
}

/// On this machine instead of three others.
#[test]
fn the_launcher_over_tcp() {
    once_is_enough!();
    let tcp = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let app = Program::ours("test-app").path().to_owned();
    let names =
        [("192.0.2.11", "127.0.0.1".into()), ("9000", tcp.port().to_string().into()), ("/usr/local/bin/app", app)];
    let _launcher = launch("hosts", &names, &Address::Tcp(tcp));
    // We are not the web server that may connect.
    let mut connection = Address::Tcp(tcp).connect().expect("it listens");
    connection.expect_closed();
}
