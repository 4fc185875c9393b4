//! The pid file.

use std::fs;

use fcgi_tests::needs_root;

use super::{Case, make_fifo};

#[test]
fn it_has_the_pid_and_no_newline() {
    let case = Case::new();
    let child = case.child("-s sock -P pid");
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), child.pid().to_string());
}

#[test]
fn it_has_all_pids_in_lines() {
    let case = Case::new();
    let children: [_; 3] = case.children("-s sock -P pid -F 3");
    let pids = children.each_ref().map(|child| child.pid().to_string());
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), pids.join("\n"));
}

#[test]
fn its_mode_is_644_less_the_umask() {
    for (umask, mode) in [("000", 0o644), ("022", 0o644), ("027", 0o640), ("077", 0o600)] {
        let case = Case::called_by(&format!("umask {umask}; exec"));
        case.child("-s sock -P pid");
        assert_eq!(case.owner("pid").0, mode, "umask {umask}");
    }
}

#[test]
fn an_old_one_is_replaced_wholly() {
    let case = Case::new();
    case.file("pid", "1234567890\nwith more than a pid\n", 0o644);
    let child = case.child("-s sock -P pid");
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), child.pid().to_string());
}

#[test]
fn an_empty_one_is_filled() {
    let case = Case::new();
    case.file("pid", "", 0o644);
    let child = case.child("-s sock -P pid");
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), child.pid().to_string());
}

#[test]
fn a_missing_folder_is_named() {
    let case = Case::new();
    let line = case.refuses("-s sock -P missing/pid -- /bin/true", "missing/pid");
    assert!(line.contains("No such file or directory"), "{line}");
}

#[test]
fn a_folder_is_refused() {
    let case = Case::new();
    case.folder("folder");
    case.refuses("-s sock -P folder -- /bin/true", "'folder'");
    assert!(case.path("folder").is_dir());
}

#[test]
fn a_device_is_refused() {
    Case::new().refuses("-s sock -P /dev/null -- /bin/true", "'/dev/null'");
}

#[test]
fn a_pipe_is_refused_at_once() {
    let case = Case::new();
    make_fifo(&case.path("fifo"));
    case.refuses("-s sock -P fifo -- /bin/true", "'fifo'");
}

#[test]
fn it_comes_before_the_socket() {
    let case = Case::new();
    case.refuses("-s sock -P missing/pid -- /bin/true", "missing/pid");
    assert!(!case.exists("sock"));
}

#[test]
fn it_comes_before_the_users() {
    needs_root!();
    Case::new().refuses("-s sock -P missing/pid -u no-such-user -- /bin/true", "missing/pid");
}
