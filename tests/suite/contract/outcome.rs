//! Messages and exit statuses.

use std::os::unix::fs::symlink;

use fcgi_tests::{eventually, free_port, proc};

use super::Case;

#[test]
fn success_is_one_line_with_the_pid() {
    let ended = Case::new().run("-s sock -- /bin/sleep 1000");
    assert_eq!((ended.status, &ended.stderr[..]), (0, ""));
    let pid = ended.children[0].pid();
    assert_eq!(ended.stdout, format!("spawn-fcgi: child spawned successfully: PID: {pid}\n"));
}

#[test]
fn success_is_a_line_for_each_child() {
    let ended = Case::new().run("-s sock -F 3 -- /bin/sleep 1000");
    assert!(ended.status == 0 && ended.children.len() == 3 && ended.stdout.lines().count() == 3, "{ended:?}");
}

/// Runs a shell command as the program.
#[track_caller]
fn shell(command: &str) -> (i32, String, String) {
    let ended = Case::new().run_short_words(["-s", "sock", "--", "/bin/sh", "-c", command]);
    (ended.status, ended.stdout, ended.stderr)
}

#[test]
fn an_early_exit_is_the_status() {
    for status in [1, 3, 255] {
        let message = format!("spawn-fcgi: child exited with: {status}\n");
        assert_eq!(shell(&format!("exit {status}")), (status, String::new(), message));
    }
}

#[test]
fn an_early_exit_0_is_said_too() {
    assert_eq!(shell("exit 0"), (0, String::new(), "spawn-fcgi: child exited with: 0\n".into()));
}

#[test]
fn an_early_signal_is_status_1() {
    for signal in [9, 15] {
        let message = format!("spawn-fcgi: child signaled: {signal}\n");
        assert_eq!(shell(&format!("kill -{signal} $$")), (1, String::new(), message));
    }
}

#[test]
fn one_that_ends_early_does_not_keep_the_others_from_starting() {
    let script = "mkdir first 2>/dev/null && exit 7; exec sleep 1000";
    let words = ["-s", "sock", "-F", "3", "--", "/bin/sh", "-c", script];
    let (_case, ended) = eventually("a program whose early end is seen", || {
        let case = Case::new();
        let ended = case.run_words(words);
        // One that is still on its way to `mkdir` would use a folder that is being removed.
        for child in &ended.children {
            let is_past_it = || !child.0.is_alive() || proc::name(child.pid()).as_deref() == Some("sleep");
            eventually("the end of a script", || is_past_it().then_some(()));
        }
        (!ended.stderr.is_empty()).then_some((case, ended))
    });
    assert_eq!((ended.status, &ended.stderr[..]), (7, "spawn-fcgi: child exited with: 7\n"));
    assert_eq!(ended.children.len(), 2);
    assert!(ended.children.iter().all(|child| child.0.is_alive()));
}

/// The program is not executed: one line, and the errno as the status.
#[track_caller]
fn not_executed(case: &Case, program: &str, errno: i32) {
    let ended = case.run_short_words(["-s", "sock", "--", program]);
    assert_eq!((ended.status, &ended.stdout[..]), (errno, ""), "{program}: {}", ended.stderr);
    assert!(ended.stderr.starts_with("spawn-fcgi: ") && ended.stderr.lines().count() == 1, "{}", ended.stderr);
}

#[test]
fn a_missing_program_is_status_2() {
    not_executed(&Case::new(), "/missing", 2);
}

/// Nothing is searched in `PATH`.
#[test]
fn a_name_without_a_slash_is_a_file_in_the_working_directory() {
    let case = Case::new();
    not_executed(&case, "sleep", 2);
    case.file("sleep", "#!/bin/sh\nexec /bin/sleep 1000\n", 0o755);
    let [child] = case.run("-s sock -- sleep").started();
    child.becomes(&["/bin/sleep", "1000"]);
}

#[test]
fn a_missing_interpreter_is_status_2() {
    let case = Case::new();
    case.file("script", "#!/missing\n", 0o755);
    not_executed(&case, "./script", 2);
}

#[test]
fn a_file_that_may_not_be_executed_is_status_13() {
    let case = Case::new();
    case.file("plain", "#!/bin/sh\n", 0o644);
    not_executed(&case, "./plain", 13);
}

#[test]
fn a_folder_is_status_13() {
    not_executed(&Case::new(), "/etc", 13);
}

#[test]
fn a_file_that_is_no_program_is_status_8() {
    let case = Case::new();
    case.file("junk", "no program", 0o755);
    not_executed(&case, "./junk", 8);
}

#[test]
fn a_path_through_a_file_is_status_20() {
    not_executed(&Case::new(), "/etc/passwd/x", 20);
}

#[test]
fn a_circle_of_symlinks_is_status_40() {
    let case = Case::new();
    symlink("circle", case.path("circle")).expect("a symlink");
    not_executed(&case, "./circle", 40);
}

#[test]
fn an_empty_program_is_status_2() {
    not_executed(&Case::new(), "", 2);
}

#[test]
fn f_with_a_missing_program_is_status_127() {
    let ended = Case::new().run_short("-s sock -f /missing");
    assert_eq!((ended.status, &ended.stderr[..]), (127, "spawn-fcgi: child exited with: 127\n"));
}

#[test]
fn f_with_a_file_that_may_not_be_executed_is_status_126() {
    let ended = Case::new().run_short("-s sock -f /etc/passwd");
    assert_eq!((ended.status, &ended.stderr[..]), (126, "spawn-fcgi: child exited with: 126\n"));
}

#[test]
fn something_to_run_is_needed() {
    let case = Case::new();
    case.refuses("-s sock", "no FastCGI application given");
    case.refuses("-s sock --", "no FastCGI application given");
    assert!(!case.exists("sock"));
}

#[test]
fn somewhere_to_listen_is_needed() {
    for line in ["-n", "-F 2", "-a 127.0.0.1"] {
        Case::new().refuses(&format!("{line} -- /bin/true"), "no socket given");
    }
}

#[test]
fn it_listens_in_one_place() {
    let case = Case::new();
    let line = format!("-s sock -p {} -- /bin/true", free_port());
    case.refuses(&line, "both");
    assert!(!case.exists("sock"));
}

#[test]
fn a_port_is_a_number() {
    for port in ["9000x", "9000.5", "9000,", "0x50"] {
        Case::new().refuses(&format!("-p {port} -- /bin/true"), "");
    }
}

#[test]
fn port_0_is_no_port() {
    for port in ["0", "''"] {
        Case::new().refuses(&format!("-p {port} -- /bin/true"), "");
    }
}

#[test]
fn an_address_is_a_literal() {
    for address in ["localhost", "[::1]", "fe80::1%lo", "1.2.3", "127.0.0.1:80", "''"] {
        let named = if address == "''" { "" } else { address };
        Case::new().refuses(&format!("-a {address} -p {} -- /bin/true", free_port()), named);
    }
}

#[test]
fn a_missing_folder_for_the_socket_is_an_error() {
    Case::new().refuses("-s missing/sock -- /bin/true", "");
}

#[test]
fn a_folder_at_the_sockets_path_is_an_error() {
    let case = Case::new();
    case.folder("sock");
    case.refuses("-s sock -- /bin/true", "");
    assert!(case.path("sock").is_dir());
}

#[test]
fn a_missing_folder_to_run_in_is_named() {
    let line = Case::new().refuses("-s sock -d missing -- /bin/true", "missing");
    assert!(line.contains("No such file or directory"), "{line}");
}

#[test]
fn a_file_to_run_in_is_named() {
    let line = Case::new().refuses("-s sock -d /etc/passwd -- /bin/true", "/etc/passwd");
    assert!(line.contains("Not a directory"), "{line}");
}
