//! `fcgi-spawn` as the first process of a container.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fcgi_tests::{
    Address, Process, Signal, Stray, copy_program, eventually, free_port, needs_root, proc, repository, static_only,
    temp_dir,
};

use crate::app::{expect_hello, wait_until_it_listens};
use crate::launcher::{Launcher, in_folder, path_of};

/// How long a stop may take when nothing is under way.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A command as the first process of a pid namespace.
fn first_process() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).stdin(Stdio::null());
    command
}

/// What `unshare` has started.
fn inside(unshare: &Process) -> Stray {
    Stray::adopt(eventually("a first process", || proc::children(unshare.pid()).first().copied()))
}

#[track_caller]
fn ends_at_once(process: &mut Process, first: &Stray) {
    let begun = Instant::now();
    first.signal(Signal::QUIT);
    assert_eq!(process.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn sigquit_is_a_stop() {
    let mut launcher = Launcher::start(&["-s", "@/app.sock", "-P", "@/pid", "--status", "@/status"]);
    eventually("a pid file", || launcher.path("pid").exists().then_some(()));
    launcher.process.signal(Signal::QUIT);
    assert_eq!(launcher.process.wait_exit().code(), Some(0));
    assert_eq!(fs::read_dir(launcher.path("")).expect("a directory").count(), 0, "files are left");
}

/// Without -n: in the background it would be a container that has ended.
#[test]
fn the_first_process_stays_in_the_foreground() {
    needs_root!();
    let dir = temp_dir();
    let mut command = first_process();
    command.arg(path_of("fcgi-spawn")).args(in_folder(&["-s", "@/app.sock", "-P", "@/pid", "--"], dir.path()));
    let mut process = Process::start(command.arg(path_of("hello")));
    let address = Address::Unix(dir.path().join("app.sock"));
    wait_until_it_listens(&address);
    expect_hello(&address);
    let pid = eventually("a pid file", || fs::read_to_string(dir.path().join("pid")).ok());
    assert_eq!(pid, "1");
    let first = inside(&process);
    assert_eq!(proc::name(first.pid()).as_deref(), Some("fcgi-spawn"));
    ends_at_once(&mut process, &first);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "files are left");
}

/// Its files are those that dist/build-static makes; its root has nothing else, neither /proc nor /tmp.
#[test]
fn the_dockerfile_makes_a_container_that_serves() {
    static_only!();
    needs_root!();
    let text = fs::read_to_string(repository().join("examples/container/Dockerfile")).expect("a Dockerfile");
    let instructions = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |line: &str| -> Vec<String> { serde_json::from_str(line).expect("a list of words") };

    let root = temp_dir();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("ours");
    let copies = instructions("COPY");
    assert_eq!(copies.len(), 3);
    for copy in copies {
        let (source, target) = copy.split_once(' ').expect("a source and a target");
        let name = source.strip_prefix("dist/out/x86_64-unknown-linux-musl/").expect("where dist/build-static puts it");
        copy_program(&path_of(name), &root.path().join(target.trim_start_matches('/')));
    }

    let port = free_port().to_string();
    assert_eq!(instructions("EXPOSE"), ["9000"]);
    let user = instructions("USER").remove(0);
    let run = |words: Vec<String>, mut command: Command| {
        let words = words.into_iter().map(|word| word.replace("9000", &port));
        command.arg("chroot").arg(format!("--userspec={user}")).arg("--groups=").arg(root.path()).args(words);
        Process::start(&mut command)
    };
    let mut container = run(words(&instructions("ENTRYPOINT")[0]), first_process());
    let address = Address::loopback(port.parse().expect("a number"));
    wait_until_it_listens(&address);
    expect_hello(&address);
    let check = instructions("HEALTHCHECK").remove(0);
    let mut check = run(words(check.strip_prefix("CMD ").expect("a command")), Command::new("env"));
    assert_eq!(check.wait_exit().code(), Some(0), "{}", check.stderr().text());
    let first = inside(&container);
    container.stderr().wait_for_line("all is up", |line| line.contains("ready, 2 of 2"));
    assert_eq!(proc::status(first.pid(), "Uid"), ["65534"; 4]);
    ends_at_once(&mut container, &first);
    let said = container.stderr().text();
    assert!(said.contains("worker 2") && said.contains("stopping"), "{said}");
}
