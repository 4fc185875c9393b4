//! examples/servers/README.md: what it shows is cut out of what the tests use.

use std::fs;
use std::process::Stdio;

use fcgi_tests::{Address, Process, Program, blocks, once_is_enough, repository, temp_dir};

use crate::app::{expect_hello, wait_until_it_listens};

/// What stands in the page and in the configurations.
const NAMES: [(&str, &str); 7] = [
    ("unix//run/app.sock", "unix/@SOCKET@"),
    ("-connect /run/app.sock", "-connect @ADDRESS@"),
    ("/run/app.sock", "@SOCKET@"),
    (":9000", ":@APPPORT@"),
    ("/usr/local/bin/app", "@APP@"),
    ("root /srv/www", "root @ROOT@"),
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
        if name == "fcgi-spawn" {
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

#[test]
fn the_launcher() {
    once_is_enough!();
    let block = blocks(&page()).into_iter().find(|block| block.test.as_deref() == Some("fcgi-spawn"));
    let command = block.expect("a block for the launcher").text;
    let dir = temp_dir();
    let socket = dir.path().join("app.sock");
    let mut words = command.split_whitespace().map(|word| match word {
        "/run/app.sock" => socket.clone().into_os_string(),
        "/usr/local/bin/app" => Program::ours("test-app").path().into(),
        word => word.into(),
    });
    assert_eq!(words.next().as_deref(), Some("fcgi-spawn".as_ref()));
    let _launcher = Process::start(Program::ours("fcgi-spawn").command().arg("-n").args(words).stdin(Stdio::null()));
    let address = Address::Unix(socket);
    wait_until_it_listens(&address);
    expect_hello(&address);
}
