//! How the command line is read.

use fcgi_tests::{eventually, proc};

use super::{Case, SLEEP, make_fifo, text};

/// Every option of spawn-fcgi 1.6.
const LETTERS: &str = "acdfghnpsuvCFGMPSUb";

#[test]
fn without_arguments_it_shows_its_usage_and_fails() {
    let ended = Case::new().run("");
    assert_eq!((ended.status, &ended.stderr[..]), (255, ""));
    assert!(ended.stdout.starts_with("Usage: spawn-fcgi "), "{}", ended.stdout);
}

#[test]
fn help_names_every_option() {
    for option in ["-h", "-?"] {
        let ended = Case::new().run(option);
        assert_eq!((ended.status, &ended.stderr[..]), (0, ""), "{option}");
        for letter in LETTERS.chars() {
            assert!(ended.stdout.contains(&format!("-{letter}")), "-{letter} is not in {}", ended.stdout);
        }
    }
}

#[test]
fn help_wins_over_what_comes_behind() {
    assert_eq!(Case::new().run("-h -p junk").status, 0);
}

#[test]
fn help_may_stand_behind_other_options() {
    for line in ["-s sock -h", "-n -?", "-nh"] {
        let ended = Case::new().run(line);
        assert_eq!((ended.status, &ended.stderr[..]), (0, ""), "{line}");
    }
}

#[test]
fn version_is_on_stdout() {
    let ended = Case::new().run("-v");
    assert_eq!((ended.status, &ended.stderr[..]), (0, ""));
    assert!(ended.stdout.contains(|c: char| c.is_ascii_digit()), "{}", ended.stdout);
}

#[test]
fn version_does_nothing_else() {
    let case = Case::new();
    let ended = case.run(&format!("-s sock -P pid -v -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.is_empty() && !case.exists("sock") && !case.exists("pid"));
}

#[test]
fn values_may_be_attached() {
    let case = Case::new();
    let child = case.child("-ssock -M0600 -C4 -Ppid");
    assert_eq!(case.owner("sock").0, 0o600);
    assert_eq!(child.variable("PHP_FCGI_CHILDREN"), ["4"]);
    assert!(case.exists("pid"));
}

#[test]
fn an_equals_sign_belongs_to_the_value() {
    let case = Case::new();
    case.child("-s=sock");
    assert!(case.exists("=sock"));
}

#[test]
fn options_may_be_bundled() {
    let case = Case::new();
    let mut process = case.start("-ns sock -- /bin/sh -c :");
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(case.exists("sock"));
}

#[test]
fn a_value_may_look_like_an_option() {
    let case = Case::new();
    case.child("-s -n");
    assert!(case.exists("-n"));
}

#[test]
fn the_last_of_repeated_options_counts() {
    let case = Case::new();
    let child = case.child("-F 3 -s first -M 0666 -C 1 -F 1 -s last -M 0600 -C 2");
    assert!(!case.exists("first"));
    assert_eq!(case.owner("last").0, 0o600);
    assert_eq!(child.variable("PHP_FCGI_CHILDREN"), ["2"]);
}

#[test]
fn behind_two_dashes_all_belongs_to_the_program() {
    let case = Case::new();
    let [child] = case.run("-s sock -- /usr/bin/tail -f -n 1 /dev/null -- -M -C").started();
    child.becomes(&["/usr/bin/tail", "-f", "-n", "1", "/dev/null", "--", "-M", "-C"]);
    assert!(child.variable("PHP_FCGI_CHILDREN").is_empty());
}

/// As glibc's getopt does it, and as some init scripts have it.
#[test]
fn options_behind_the_program_are_ours_without_two_dashes() {
    let case = Case::new();
    let [child] = case.run("/bin/sleep -s sock 1000 -C 3").started();
    child.becomes(&["/bin/sleep", "1000"]);
    assert_eq!(child.variable("PHP_FCGI_CHILDREN"), ["3"]);
}

#[test]
fn two_dashes_end_our_options_behind_the_program_too() {
    let case = Case::new();
    let [child] = case.run("/usr/bin/tail -s sock -- -f /dev/null").started();
    child.becomes(&["/usr/bin/tail", "-f", "/dev/null"]);
}

#[test]
fn arguments_are_passed_byte_for_byte() {
    let case = Case::new();
    // It waits for somebody to write into a pipe that has no other end.
    make_fifo(&case.path("fifo"));
    let script = case.file("wait", "#!/bin/sh\n: <fifo\n", 0o755);
    let arguments = ["", "a b", "$HOME", "*", "'\"\\", "--", "-s", "\u{e4}\n"];
    let [child] = case.run_words(["-s", "sock", "--", text(&script)].iter().chain(&arguments)).started();
    let want: Vec<&str> = ["/bin/sh", text(&script)].into_iter().chain(arguments).collect();
    child.becomes(&want);
}

#[test]
fn f_runs_a_shell_command_and_its_pid_is_the_programs() {
    let case = Case::new();
    let [child] = case.run_words(["-s", "sock", "-f", "/bin/sleep 1000"]).started();
    child.becomes(&["/bin/sleep", "1000"]);
}

#[test]
fn f_has_a_shells_quotes_variables_and_path() {
    let case = Case::called_by("TIME=1000; export TIME; exec");
    let [child] = case.run_words(["-s", "sock", "-f", "sleep '1000' \"$TIME\" $TIME"]).started();
    child.becomes(&["sleep", "1000", "1000", "1000"]);
}

#[test]
fn f_is_ignored_with_a_program() {
    let ended = Case::new().run(&format!("-s sock -f /missing -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
    ended.children[0].becomes(&["/bin/sleep", "1000"]);
}

#[test]
fn a_program_is_not_searched_for_in_path() {
    assert_eq!(Case::new().run_short("-s sock -- sleep 1000").status, 2);
}

#[test]
fn a_program_without_a_slash_is_in_the_current_folder() {
    let case = Case::new();
    std::os::unix::fs::symlink("/bin/sleep", case.path("mine")).expect("a symlink");
    let [child] = case.run("-s sock -- mine 1000").started();
    child.becomes(&["mine", "1000"]);
}

#[test]
fn d_is_where_the_program_is_looked_for_and_runs() {
    let case = Case::new();
    let folder = case.folder("sub");
    std::os::unix::fs::symlink("/bin/sleep", folder.join("mine")).expect("a symlink");
    let [child] = case.run("-s sock -d sub -- ./mine 1000").started();
    child.becomes(&["./mine", "1000"]);
    assert_eq!(proc::link(child.pid(), "cwd"), Some(folder));
}

#[test]
fn d_is_where_f_runs() {
    let case = Case::new();
    case.folder("sub");
    let [child] = case.run_words(["-s", "sock", "-d", "sub", "-f", "sleep 1000"]).started();
    child.becomes(&["sleep", "1000"]);
    assert_eq!(proc::link(child.pid(), "cwd"), Some(case.path("sub")));
}

#[test]
fn d_leaves_relative_sockets_and_pid_files_where_they_are() {
    let case = Case::new();
    case.folder("sub");
    case.child("-s sock -P pid -d sub");
    assert!(case.exists("sock") && case.exists("pid"));
    assert!(!case.exists("sub/sock") && !case.exists("sub/pid"));
}

#[test]
fn big_c_is_set_for_the_program() {
    for number in ["0", "4", "250"] {
        assert_eq!(Case::new().child(&format!("-s sock -C {number}")).variable("PHP_FCGI_CHILDREN"), [number]);
    }
}

#[test]
fn big_c_replaces_what_the_caller_has() {
    let case = Case::called_by("PHP_FCGI_CHILDREN=9; export PHP_FCGI_CHILDREN; exec");
    assert_eq!(case.child("-s sock -C 4").variable("PHP_FCGI_CHILDREN"), ["4"]);
}

#[test]
fn without_big_c_the_callers_variable_passes() {
    let case = Case::called_by("PHP_FCGI_CHILDREN=9; export PHP_FCGI_CHILDREN; exec");
    assert_eq!(case.child("-s sock").variable("PHP_FCGI_CHILDREN"), ["9"]);
    assert!(Case::new().child("-s sock").variable("PHP_FCGI_CHILDREN").is_empty());
}

#[test]
fn big_f_starts_that_many_on_one_socket() {
    let children: [_; 3] = Case::new().children("-s sock -F 3");
    assert!(children.iter().all(|child| child.socket() == children[0].socket()), "{children:?}");
}

#[test]
fn an_init_scripts_line_works_without_any_environment() {
    let case = Case::called_by("exec env -i");
    let [child] = case.run_words(["-s", "sock", "-P", "pid", "-C", "4", "-f", "/bin/sleep 1000"]).started();
    child.becomes(&["/bin/sleep", "1000"]);
    eventually("the shell's and our own variables", || {
        proc::environment(child.pid()).contains(&"PHP_FCGI_CHILDREN=4".to_owned()).then_some(())
    });
}
