//! What we do otherwise than the original, and better. None of these cases holds for spawn-fcgi 1.6.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fcgi_tests::{Program, eventually, free_port, is_root, needs_root};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use super::socket::{queue, stale};
use super::user::jail;
use super::{Case, Child, Ended, NOBODY, SLEEP, make_fifo, text, words};

/// The names of all files of a case.
fn files(case: &Case) -> Vec<String> {
    let entries = fs::read_dir(case.dir.path()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Nothing is started, nothing left, and the line names both the option and its value.
#[track_caller]
fn refuses_value(option: &str, value: &str, others: &str) {
    let case = Case::new();
    let all = [option, value].into_iter().chain(words(others)).chain(["--", "/bin/true"]);
    let line = case.refuses_words(all, option);
    assert!(line.contains(value), "{value} is not named: {line}");
    assert_eq!(files(&case), [""; 0], "{option} {value}");
}

// ------------------------------------------------------------------------------------------ the command line

#[test]
fn an_unknown_option_is_an_error() {
    for option in ["-Z", "-1", "--no-such-option"] {
        let case = Case::new();
        case.refuses(&format!("{option} -s sock -- /bin/true"), option);
        assert_eq!(files(&case), [""; 0]);
    }
}

#[test]
fn a_missing_value_is_an_error() {
    for letter in "acdfgpsubCFGMPU".chars() {
        Case::new().refuses(&format!("-s sock -{letter}"), &format!("-{letter}"));
    }
}

#[test]
fn a_port_fits_into_16_bits() {
    for port in ["65536", "75000", "-1", "9000x", "x"] {
        refuses_value("-p", port, "");
    }
}

#[test]
fn the_number_of_children_is_positive() {
    for number in ["0", "-3", "x", "2x", "", "99999999999999999999"] {
        refuses_value("-F", number, "-s sock");
    }
}

#[test]
fn php_children_are_a_number() {
    for number in ["-1", "x", "4x", ""] {
        refuses_value("-C", number, "-s sock");
    }
}

#[test]
fn a_backlog_is_a_number() {
    for number in ["-1", "x", "4x", ""] {
        refuses_value("-b", number, "-s sock");
    }
}

#[test]
fn a_mode_is_octal() {
    for mode in ["999", "0o660", "rw", "-1", "", "77777"] {
        refuses_value("-M", mode, "-s sock");
    }
}

#[test]
fn an_address_is_named_with_its_option() {
    refuses_value("-a", "localhost", &format!("-p {}", free_port()));
}

#[test]
fn a_missing_folder_for_the_socket_is_named() {
    Case::new().refuses("-s missing/sock -- /bin/true", "missing/sock");
}

#[test]
fn an_empty_path_is_no_socket() {
    let case = Case::new();
    case.refuses("-s '' -- /bin/true", "-s");
}

#[test]
fn what_is_ignored_is_said() {
    for (option, line) in [
        ("-a", format!("-a 127.0.0.1 -s sock -- {SLEEP}")),
        ("-M", format!("-M 0600 -p {} -- {SLEEP}", free_port())),
        ("-f", format!("-f /missing -s sock -- {SLEEP}")),
    ] {
        let ended = Case::new().run(&line);
        assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
        assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains(option), "{line}: {}", ended.stderr);
    }
}

#[test]
fn what_n_ignores_is_said() {
    let case = Case::new();
    let ended = case.run("-s sock -P pid -F 3 -n -- /bin/true");
    assert!(ended.status == 0 && ended.stderr.contains("-P") && ended.stderr.contains("-F"), "{ended:?}");
}

/// One line each, in the order of the command line.
#[test]
fn every_ignored_option_is_reported_with_the_reason() {
    let case = Case::new();
    let ended = case.run(&format!("-s sock -S --idle 1s -f x -a ::1 --auto-update --restart-delay=1s -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
    let want = [
        if is_root() { "-S is ignored without -c" } else { "-S is ignored unless root runs this" },
        "--idle '1s' is ignored with --once",
        "-f 'x' is ignored with a program",
        "-a '::1' is ignored with -s",
        "--auto-update is ignored with --once",
        "--restart-delay '1s' is ignored with --once",
    ];
    let lines: Vec<_> = ended.stderr.lines().map(|line| line.trim_start_matches("spawn-fcgi: ")).collect();
    assert_eq!(lines, want);
}

#[test]
fn what_only_root_may_do_is_said_to_others() {
    let case = Case::called_by_nobody();
    let ended = case.run(&format!("-s sock -u daemon -g daemon -U daemon -G daemon -c /missing -S -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
    for option in ["-u", "-g", "-U", "-G", "-c", "-S"] {
        assert!(ended.stderr.contains(option), "{option} is not named: {}", ended.stderr);
    }
}

#[test]
fn once_is_the_same_under_our_own_name() {
    let case = Case::new();
    let mut command = Program::ours("fcgi-spawn").command();
    let mut process = fcgi_tests::Process::start(
        command.args(words(&format!("--once -s sock -P pid -- {SLEEP}"))).current_dir(case.dir.path()),
    );
    assert_eq!(process.wait_exit().code(), Some(0));
    let pid = fs::read_to_string(case.path("pid")).expect("a pid file");
    let child = Child::adopt(pid.parse().expect("a pid"));
    assert_eq!(process.stdout().to_end(), format!("fcgi-spawn: child spawned successfully: PID: {pid}\n"));
    child.becomes(&["/bin/sleep", "1000"]);
}

// ------------------------------------------------------------------------------------------------- the socket

#[test]
fn what_is_no_stale_stream_socket_is_refused_and_stays() {
    let case = Case::new();
    let _datagram = UnixDatagram::bind(case.path("datagram")).expect("a socket");
    case.file("file", "precious", 0o644);
    case.file("empty", "", 0o644);
    case.folder("folder");
    symlink("file", case.path("link")).expect("a symlink");
    symlink("missing", case.path("dangling")).expect("a symlink");
    let before = files(&case).len();
    for name in ["datagram", "file", "empty", "folder", "link", "dangling"] {
        let inode = fs::symlink_metadata(case.path(name)).expect("it is there").ino();
        case.refuses(&format!("-s {name} -- /bin/true"), name);
        assert_eq!(fs::symlink_metadata(case.path(name)).expect("it is still there").ino(), inode, "{name}");
    }
    assert_eq!(
        (fs::read_to_string(case.path("file")).expect("a file"), files(&case).len()),
        ("precious".into(), before)
    );
}

#[test]
fn a_listener_with_a_full_queue_is_in_use() {
    let case = Case::new();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &SocketAddrUnix::new(case.path("sock")).expect("it fits")).expect("it binds");
    listen(&listener, 0).expect("it listens");
    assert_eq!(queue(&case.path("sock")), 1);
    case.refuses("-s sock -- /bin/true", "in use");
    assert!(case.exists("sock"));
}

#[test]
fn a_listener_we_may_not_connect_to_is_not_replaced() {
    needs_root!();
    let case = Case::called_by_nobody();
    let _listener = UnixListener::bind(case.path("sock")).expect("a socket");
    fs::set_permissions(case.path("sock"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
    let inode = fs::metadata(case.path("sock")).expect("a socket").ino();
    case.refuses("-s sock -- /bin/true", "sock");
    assert_eq!(fs::metadata(case.path("sock")).expect("it is still there").ino(), inode);
}

/// Two starts at the same time on a stale socket: one wins, the other says so, and the winner can be reached.
#[test]
fn two_simultaneous_starts_have_one_winner() {
    for round in 0..30 {
        // Both wait until somebody opens the pipe to write.
        let case = Case::called_by(": <gate; exec");
        make_fifo(&case.path("gate"));
        stale(&case.path("sock"));
        let starts = [0, 1].map(|_| case.start(&format!("-s sock -- {SLEEP}")));
        let _open = fs::OpenOptions::new().read(true).write(true).open(case.path("gate")).expect("a pipe");
        let ended = starts.map(Ended::of);
        let won = ended.iter().filter(|ended| ended.status == 0 && ended.children.len() == 1).count();
        let lost = ended.iter().filter(|ended| ended.status == 255 && ended.stderr.contains("in use")).count();
        assert_eq!((won, lost), (1, 1), "round {round}: {ended:?}");
        assert!(UnixStream::connect(case.path("sock")).is_ok(), "round {round}: nobody can be reached");
        assert_eq!(files(&case).len(), 2, "round {round}: {:?}", files(&case));
    }
}

/// Ends whoever watches until this is set, also when what is watched fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whoever looks all the time sees no other mode or owner than the final one.
#[test]
fn mode_and_owner_are_right_from_the_first_moment() {
    let (options, id) = if is_root() { ("-U nobody", NOBODY) } else { ("", NOBODY) };
    for _ in 0..20 {
        let case = Case::called_by("umask 000; exec");
        let (path, over) = (case.path("sock"), AtomicBool::new(false));
        let seen = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut seen = Vec::new();
                // The last look is behind the end: before it this thread may not have run at all.
                loop {
                    let is_last = over.load(Ordering::Relaxed);
                    if let Ok(file) = fs::symlink_metadata(&path) {
                        seen.push((file.mode() & 0o777, file.uid(), file.gid()));
                        seen.dedup();
                    }
                    if is_last {
                        return seen;
                    }
                }
            });
            let end = SetOnDrop(&over);
            case.child(&format!("-s sock -M 0600 {options}"));
            drop(end);
            watch.join().expect("the watch ends")
        });
        let own = case.owner("sock");
        assert!(seen == [own] && own.0 == 0o600 && (!is_root() || own.1 == id), "{seen:?}");
    }
}

#[test]
fn a_missing_parent_folder_is_made_with_mkdir() {
    let case = Case::new();
    case.child("-s run/app/sock --mkdir");
    assert!(fs::metadata(case.path("run/app/sock")).expect("a socket").file_type().is_socket());
}

#[test]
fn an_at_sign_makes_an_abstract_socket() {
    let case = Case::new();
    let name = format!("fcgi-test-{}-{}", std::process::id(), free_port());
    let _child = case.child(&format!("-s @{name}"));
    assert_eq!(files(&case), [""; 0]);
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    assert!(UnixStream::connect_addr(&address).is_ok());
    case.refuses(&format!("-s @{name} -- /bin/true"), "in use");
}

#[test]
fn a_backlog_that_the_kernel_cuts_is_said() {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    let more = limit.trim().parse::<u32>().expect("a number") + 1;
    let ended = Case::new().run(&format!("-s sock -b {more} -- {SLEEP}"));
    assert!(ended.status == 0 && ended.children.len() == 1, "{ended:?}");
    assert!(ended.stderr.lines().count() == 1 && ended.stderr.contains("somaxconn"), "{ended:?}");
}

// ------------------------------------------------------------------------------------------ users and groups

#[test]
fn an_unknown_number_needs_a_group() {
    needs_root!();
    let case = Case::new();
    case.refuses("-s sock -u 54321 -- /bin/true", "54321");
    assert_eq!(files(&case), [""; 0]);
}

/// -1 means "leave it as it is" to the kernel.
#[test]
fn an_id_is_in_range() {
    needs_root!();
    for option in ["-u", "-g", "-U", "-G"] {
        for value in ["-5", "-1", "4294967295", "4294967296", "1x"] {
            refuses_value(option, value, "-s sock");
        }
    }
}

// ------------------------------------------------------------------------------------------------- the child

#[test]
fn every_inherited_descriptor_is_closed() {
    let child = Case::called_by("exec 5</etc/passwd 9</etc/passwd; exec").child("-s sock");
    has_three_descriptors(&child);
}

/// A program that has just been started has its libraries open for a moment.
fn has_three_descriptors(child: &Child) {
    let numbers = || child.descriptors().into_iter().map(|(fd, _)| fd);
    eventually("no descriptor but 0, 1 and 2", || numbers().eq(0..3).then_some(()));
}

#[test]
fn every_inherited_descriptor_is_closed_with_n() {
    let case = Case::called_by("exec 3</etc/passwd 9</etc/passwd; exec");
    let process = case.start(&format!("-s sock -n -- {SLEEP}"));
    let child = Child::adopt(process.pid());
    child.becomes(&["/bin/sleep", "1000"]);
    has_three_descriptors(&child);
}

#[test]
fn output_goes_to_dev_null_in_a_chroot_without_one() {
    needs_root!();
    let case = Case::new();
    jail(&case);
    fs::remove_file(case.path("jail/dev/null")).expect("it is there");
    let child = case.child("-s sock -c jail");
    for (_, name) in &child.descriptors()[1..] {
        assert_eq!(text(name), "/dev/null");
    }
    assert_eq!(fs::read_dir(case.path("jail/dev")).expect("a folder").count(), 0);
}

// ---------------------------------------------------------------------------------------- what is left behind

/// Every child is watched, however many there are.
#[test]
fn a_missing_program_is_never_a_success() {
    for number in [1, 3, 20] {
        let case = Case::new();
        let ended = case.run(&format!("-s sock -P pid -F {number} -- /missing"));
        assert_eq!((ended.status, &ended.stdout[..]), (2, ""), "-F {number}: {}", ended.stderr);
        assert!(ended.stderr.contains("/missing"), "{}", ended.stderr);
        assert_eq!(files(&case), [""; 0], "-F {number}");
    }
}

#[test]
fn who_may_not_execute_a_program_is_named() {
    needs_root!();
    let case = Case::new();
    case.file("mine", "#!/bin/sh\n", 0o700);
    let ended = case.run("-s sock -u nobody -g daemon -- ./mine");
    assert_eq!((ended.status, &ended.stdout[..]), (13, ""));
    for part in ["./mine", "65534", "1"] {
        assert!(ended.stderr.contains(part), "{part} is not named: {}", ended.stderr);
    }
}

#[test]
fn a_failed_start_leaves_nothing() {
    let port = free_port();
    for line in [
        "-s sock -P pid -d missing -- /bin/true",
        "-s missing/sock -P pid -- /bin/true",
        "-s sock -P pid -- /missing",
        "-s sock -P pid -F 3 -- /etc/passwd",
        "-s sock -P pid -n -- /missing",
        &format!("-a 192.0.2.1 -p {port} -P pid -- /bin/true"),
    ] {
        let case = Case::new();
        let ended = case.run(line);
        assert!(ended.status != 0 && !ended.stderr.is_empty(), "{line}: {ended:?}");
        assert_eq!(files(&case), [""; 0], "{line}");
    }
}

#[test]
fn a_failed_start_as_root_leaves_nothing() {
    needs_root!();
    for line in [
        "-s sock -P pid -c missing -S -- /bin/true",
        "-s sock -P pid -u no-such-user -- /bin/true",
        "-s sock -P pid -u nobody -d /proc/1/cwd -- /bin/true",
        "-s sock -P pid -u nobody -- /missing",
    ] {
        let case = Case::new();
        let ended = case.run(line);
        assert!(ended.status != 0 && !ended.stderr.is_empty(), "{line}: {ended:?}");
        assert_eq!(files(&case), [""; 0], "{line}");
    }
}

#[test]
fn a_program_that_ends_early_leaves_no_pid() {
    let case = Case::new();
    let ended = case.run_short("-s sock -P pid -- /bin/false");
    assert_eq!((ended.status, &ended.stderr[..]), (1, "spawn-fcgi: child exited with: 1\n"));
    assert!(!case.exists("pid"));
}

#[test]
fn a_refused_start_leaves_the_pid_file_of_the_one_that_runs() {
    let case = Case::new();
    let child = case.child("-s sock -P pid");
    case.refuses("-s sock -P pid -- /bin/true", "in use");
    assert_eq!(fs::read_to_string(case.path("pid")).expect("a pid file"), child.pid().to_string());
}

#[test]
fn a_pid_file_is_not_written_through_a_symlink() {
    needs_root!();
    for target in ["target", "missing"] {
        let case = Case::new();
        case.file("target", "precious", 0o644);
        symlink(target, case.path("pid")).expect("a symlink");
        case.refuses("-s sock -P pid -- /bin/true", "pid");
        assert_eq!(fs::read_to_string(case.path("target")).expect("a file"), "precious");
        assert!(!case.exists("missing") && !case.exists("sock"));
    }
}

/// Whoever reads the pid file sees a whole one or none.
#[test]
fn a_pid_file_is_never_half_written() {
    for _ in 0..10 {
        let case = Case::new();
        let (path, over) = (case.path("pid"), AtomicBool::new(false));
        let (seen, children) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut seen = Vec::new();
                loop {
                    let is_last = over.load(Ordering::Relaxed);
                    match fs::read_to_string(&path) {
                        Ok(pids) => seen.push(pids),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                    }
                    seen.dedup();
                    if is_last {
                        return seen;
                    }
                }
            });
            let end = SetOnDrop(&over);
            let children: [Child; 3] = case.children("-s sock -P pid -F 3");
            drop(end);
            (watch.join().expect("the watch ends"), children)
        });
        let pids = children.each_ref().map(|child| child.pid().to_string()).join("\n");
        assert!(seen.iter().all(|text| *text == pids), "{seen:?}");
    }
}
