//! `-n`: the process becomes the program.

use fcgi_tests::{Signal, proc};

use super::{Case, Child, SLEEP};

/// The program, when it is there. The process ends with the value.
#[track_caller]
fn becomes(case: &Case, line: &str) -> (fcgi_tests::Process, Child) {
    let process = case.start(&format!("{line} -n -- {SLEEP}"));
    let child = Child::adopt(process.pid());
    child.becomes(&["/bin/sleep", "1000"]);
    (process, child)
}

#[test]
fn it_is_the_same_process_in_the_same_session() {
    let case = Case::new();
    let (process, _child) = becomes(&case, "-s sock");
    assert_eq!(proc::session(process.pid()), proc::session(std::process::id()));
}

#[test]
fn it_says_nothing() {
    let case = Case::new();
    let ended = case.run("-s sock -n -- /bin/false");
    assert_eq!((ended.status, &ended.stdout[..], &ended.stderr[..]), (1, "", ""));
}

#[test]
fn output_and_status_are_the_programs() {
    let case = Case::new();
    let words = ["-s", "sock", "-n", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 5"];
    let ended = case.run_words(words);
    assert_eq!((ended.status, &ended.stdout[..], &ended.stderr[..]), (5, "out\n", "err\n"));
}

#[test]
fn a_signal_ends_the_program() {
    let case = Case::new();
    let (mut process, _child) = becomes(&case, "-s sock");
    process.signal(Signal::USR1);
    let status = process.wait_exit();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::USR1.as_raw()));
}

#[test]
fn descriptor_0_is_the_socket_and_the_others_stay() {
    let case = Case::new();
    let (_process, child) = becomes(&case, "-s sock");
    child.socket();
    let output =
        child.descriptors().into_iter().filter(|(fd, name)| *fd < 10 && name.to_string_lossy().starts_with("pipe:"));
    assert_eq!(output.map(|(fd, _)| fd).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn environment_umask_and_signals_are_the_callers() {
    let case = Case::called_by("umask 027; exec env -i --default-signal --ignore-signal=HUP A=1");
    let (_process, child) = becomes(&case, "-s sock -C 3");
    assert_eq!(proc::environment(child.pid()), ["A=1", "PHP_FCGI_CHILDREN=3"]);
    assert_eq!(proc::status(child.pid(), "Umask"), ["0027"]);
    assert_eq!((child.signals("SigIgn"), child.signals("SigBlk")), (vec![1], vec![]));
}

#[test]
fn the_number_of_children_is_ignored() {
    let case = Case::new();
    let (process, _child) = becomes(&case, "-s sock -F 3");
    assert!(proc::children(process.pid()).is_empty());
}

#[test]
fn the_pid_file_is_ignored() {
    for pid_file in ["pid", "missing/pid", "/dev/null"] {
        let case = Case::new();
        let ended = case.run(&format!("-s sock -P {pid_file} -n -- /bin/false"));
        assert!(ended.status == 1 && !case.exists("pid"), "{pid_file}: {ended:?}");
    }
}

#[test]
fn f_works_too() {
    let ended = Case::new().run_words(["-s", "sock", "-n", "-f", "echo $0 'a b'; exit 6"]);
    // `exec echo` ends the shell.
    assert_eq!((ended.status, &ended.stdout[..]), (0, "sh a b\n"));
}

#[test]
fn a_missing_program_is_said_and_the_status_is_the_errno() {
    let case = Case::new();
    case.file("plain", "#!/bin/sh\n", 0o644);
    for (program, status) in [("/missing", 2), ("./plain", 13), ("/etc/passwd/x", 20)] {
        let ended = case.run(&format!("-s sock -n -- {program}"));
        assert_eq!((ended.status, &ended.stdout[..]), (status, ""), "{program}");
        assert!(ended.stderr.starts_with("spawn-fcgi: ") && ended.stderr.lines().count() == 1, "{ended:?}");
    }
}

#[test]
fn a_missing_program_of_f_is_the_shells_to_say() {
    let ended = Case::new().run("-s sock -n -f /missing");
    assert!(ended.status == 127 && ended.stderr.contains("/missing"), "{ended:?}");
}

#[test]
fn set_up_errors_are_as_always() {
    Case::new().refuses("-s missing/sock -n -- /bin/true", "");
    Case::new().refuses("-n -- /bin/true", "no socket");
}
