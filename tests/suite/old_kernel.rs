//! What is missing on a kernel older than 3.2, or than the machine's clock: as if on such a one, by a filter of system calls
//! that an old kernel itself would not install.

use fcgi_tests::{Address, Process, Program, free_port, static_only, temp_dir};

use crate::app::{expect_hello, fails_with_one_line, wait_until_it_listens};
use crate::launcher::{Launcher, path_of};
use crate::output::expect_dates_of_today;

#[test]
fn a_unix_socket_needs_linux_2_6_39() {
    let dir = temp_dir();
    let socket = dir.path().join("app.sock");
    for mode in ["--supervise", "--once"] {
        let mut command = Program::ours("old-kernel").command();
        command.arg("--no-o-path").arg(path_of("fcgi-spawn")).args([mode, "-s"]).arg(&socket).args(["--", "/bin/true"]);
        let (status, line) = fails_with_one_line(&mut command);
        let why = "a unix socket needs Linux 2.6.39 or later";
        assert_eq!((status, line), (255, format!("fcgi-spawn: cannot bind '{}': {why}\n", socket.display())));
        assert!(!socket.exists(), "{} is left behind", socket.display());
    }
}

#[test]
fn a_tcp_socket_needs_no_linux_2_6_39() {
    let port = free_port();
    let mut command = Program::ours("old-kernel").command();
    command.arg("--no-o-path").arg(path_of("fcgi-spawn")).args(["-n", "-a", "127.0.0.1", "-p", &port.to_string()]);
    let mut launcher = Process::start(command.arg("--").arg(path_of("hello")));
    wait_until_it_listens(&Address::loopback(port));
    expect_hello(&Address::loopback(port));
    assert_eq!(launcher.stop().code(), Some(0));
}

/// On 32 bits it has the time in 32 bits only.
#[test]
fn the_log_has_todays_date_without_a_call_for_times_of_64_bits() {
    static_only!();
    let dir = temp_dir();
    let mut command = Program::ours("old-kernel").command();
    command.arg(path_of("fcgi-spawn")).arg("--log").arg(dir.path().join("log")).arg("--status");
    command.arg(dir.path().join("status")).arg("-s").arg(dir.path().join("app.sock")).args(["-n", "--"]);
    expect_dates_of_today(|| {
        let process = Process::start(command.arg(path_of("hello")));
        wait_until_it_listens(&Address::Unix(dir.path().join("app.sock")));
        Launcher::of(process, dir)
    });
}
