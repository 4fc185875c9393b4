//! The child's world.

use std::fs;

use fcgi_tests::{Address, proc};

use super::{Case, Child, text};
use crate::app::connect;

const HUP: u32 = 1;
const USR1: u32 = 10;
const USR2: u32 = 12;
const TERM: u32 = 15;

/// 0, 1 and 2 as they have to be, and nothing else. From 10 up there may be what whoever started the tests has left
/// open: the original closes up to the first gap.
#[track_caller]
fn has_only_its_own(child: &Child) {
    let descriptors: Vec<_> = child.descriptors().into_iter().filter(|(fd, _)| *fd < 10).collect();
    assert_eq!(descriptors, [(0, child.socket()), (1, "/dev/null".into()), (2, "/dev/null".into())]);
}

#[test]
fn descriptor_0_is_the_listening_socket() {
    let case = Case::new();
    let child = case.child("-s sock");
    let socket = text(&child.socket()).replace("socket:[", "").replace(']', "");
    let sockets = fs::read_to_string("/proc/net/unix").expect("the kernel's list");
    let of_child: Vec<&str> =
        sockets.lines().filter(|line| line.split_ascii_whitespace().nth(6) == Some(&socket)).collect();
    // SO_ACCEPTCON, then the type: a stream.
    assert!(of_child.len() == 1 && of_child[0].contains(" 00010000 0001 "), "{of_child:?}");
    assert!(of_child[0].ends_with(" sock"), "{of_child:?}");
}

#[test]
fn descriptor_0_blocks() {
    let child = Case::new().child("-s sock");
    let text = fs::read_to_string(format!("/proc/{}/fdinfo/0", child.pid())).expect("fdinfo");
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
    let flags = u32::from_str_radix(flags, 8).expect("an octal number");
    assert_eq!(flags & 0o4000, 0, "O_NONBLOCK is set: {flags:o}");
}

#[test]
fn output_goes_to_dev_null_and_nothing_else_is_open() {
    has_only_its_own(&Case::new().child("-s sock"));
}

#[test]
fn the_pid_file_is_not_left_open() {
    has_only_its_own(&Case::new().child("-s sock -P pid"));
}

#[test]
fn no_child_has_anothers_descriptors() {
    let children: [_; 3] = Case::new().children("-s sock -F 3");
    children.iter().for_each(has_only_its_own);
}

#[test]
fn the_callers_next_descriptor_is_closed() {
    has_only_its_own(&Case::called_by("exec 3</etc/passwd; exec").child("-s sock"));
}

#[test]
fn a_caller_without_input_is_no_problem() {
    has_only_its_own(&Case::called_by("exec <&-; exec").child("-s sock"));
}

#[test]
fn connections_wait_for_the_program() {
    let case = Case::new();
    let _child = case.child("-s sock");
    connect(&Address::Unix(case.path("sock"))).send(b"anything");
}

#[test]
fn it_leads_a_session_without_a_terminal() {
    let children: [_; 2] = Case::new().children("-s sock -F 2");
    for child in children {
        assert_eq!((proc::session(child.pid()), proc::terminal(child.pid())), (Some(child.pid()), Some(0)));
    }
}

#[test]
fn the_launcher_is_gone() {
    let case = Case::new();
    let mut process = case.start(&format!("-s sock -- {}", super::SLEEP));
    let launcher = process.pid();
    process.wait_exit();
    let [child] = super::Ended::of(process).started();
    assert_ne!(proc::status(child.pid(), "PPid"), [launcher.to_string()]);
}

#[test]
fn umask_is_the_callers() {
    for umask in ["0000", "0027", "0077"] {
        let child = Case::called_by(&format!("umask {umask}; exec")).child("-s sock -M 0600");
        assert_eq!(proc::status(child.pid(), "Umask"), [umask]);
    }
}

#[test]
fn limits_are_the_callers() {
    let child = Case::called_by("ulimit -n 77; ulimit -c 0; exec").child("-s sock");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.pid())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(line.split_ascii_whitespace().nth(3), Some("77"));
}

#[test]
fn folder_is_the_callers() {
    let case = Case::new();
    assert_eq!(proc::link(case.child("-s sock").pid(), "cwd"), Some(case.dir.path().to_owned()));
}

#[test]
fn environment_is_the_callers() {
    let child = Case::called_by("exec env -i A=1 'B=a b' C=").child("-s sock");
    assert_eq!(proc::environment(child.pid()), ["A=1", "B=a b", "C="]);
}

#[test]
fn an_empty_environment_stays_empty() {
    let child = Case::called_by("exec env -i").child("-s sock");
    assert_eq!(proc::environment(child.pid()), [""; 0]);
    let child = Case::called_by("exec env -i").child("-s sock -C 2");
    assert_eq!(proc::environment(child.pid()), ["PHP_FCGI_CHILDREN=2"]);
}

/// SIGPIPE above all: a program in Rust ignores it, and what is ignored stays so over an exec.
#[test]
fn signals_that_the_caller_does_not_ignore_are_not_ignored() {
    let child = Case::called_by("exec env --default-signal").child("-s sock");
    assert_eq!((child.signals("SigIgn"), child.signals("SigBlk")), (vec![], vec![]));
}

#[test]
fn signals_that_the_caller_ignores_stay_ignored() {
    let child = Case::called_by("exec env --default-signal --ignore-signal=HUP,USR2").child("-s sock");
    assert_eq!(child.signals("SigIgn"), [HUP, USR2]);
}

#[test]
fn signals_that_the_caller_blocks_stay_blocked() {
    let child = Case::called_by("exec env --default-signal --block-signal=USR1,TERM").child("-s sock");
    assert_eq!((child.signals("SigBlk"), child.signals("SigIgn")), (vec![USR1, TERM], vec![]));
}
