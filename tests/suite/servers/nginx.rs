//! nginx.

use std::path::Path;
use std::process::Command;

use fcgi_tests::{Program, is_root, skip};

use super::scenario::{EVENTS_WAIT, see_events};
use super::site::{Configuration, Seen, Server, USUAL, place};

/// The command line of nginx. As root its worker processes would become www-data, who may not enter our
/// private folders.
pub(crate) fn start(nginx: &Program, dir: &Path, configuration: &Path) -> Command {
    let mut command = nginx.command();
    command.arg("-p").arg(dir).arg("-c").arg(configuration).args(["-e", "stderr"]);
    if is_root() {
        command.args(["-g", "user root;"]);
    }
    command
}

const NGINX: Server = Server {
    program: "nginx",
    clients_see: Seen::Column("nginx"),
    configuration: Configuration::File("nginx.conf"),
    command: start,
    largest_header: 30_000,
    streams_uploads: false,
    ..USUAL
};

const KEPT: Server = Server { clients_see: Seen::Column("nginx, kept"), ..NGINX };

column!(super::NGINX, unix);
column!(super::NGINX, tcp);
column!(super::KEPT, kept_unix);
column!(super::KEPT, kept_tcp);

/// A page that reads its body says who may ask for others. nginx tells it the length of an upload that it does not get.
#[test]
fn guarded_by_a_page() {
    let site = place!(NGINX, "guarded_unix").site();
    let post = |page: &str| site.post(page, b"25 bytes of a long letter");
    for _ in 0..2 {
        assert_eq!(post("/echo?who=ann").text(), "25 bytes of a long letter");
        assert_eq!(post("/echo?who=bob").status(), 403);
        assert_eq!(site.get("/hello?who=ann").text(), "Hello, World!");
        assert_eq!(site.get("/hello?who=bob").status(), 403);
    }
}

/// Without the empty CONTENT_LENGTH.
const UNAWARE: Server = Server {
    configuration: Configuration::Changed("nginx.conf", |text| {
        let line = "            fastcgi_param CONTENT_LENGTH \"\";\n";
        assert!(text.contains(line), "{line}");
        text.replace(line, "")
    }),
    ..NGINX
};

#[test]
fn guard_that_is_told_a_length() {
    let site = place!(UNAWARE, "guarded_unix").site();
    assert_eq!(site.post("/echo?who=ann", b"25 bytes of a long letter").status(), 500);
    assert_eq!(site.get("/hello?who=ann").text(), "Hello, World!");
}

/// A stream of events that does not ask nginx to pass them on.
#[test]
fn events_that_wait() {
    let place = place!(NGINX, "unix");
    let Some(curl) = Program::installed("curl") else { skip!("curl is not installed") };
    assert_eq!(see_events(&place, &curl, "buffered-events"), EVENTS_WAIT);
}
