//! What a worker has started: who gets the stop signal, and what goes on when the worker has ended.

use std::fs;
use std::path::Path;
use std::process::Command;

use fcgi_tests::{Address, Process, Program, Signal, Stray, eventually, needs_root, proc, skip, temp_dir, wire};

use crate::app::connect;
use crate::launcher::{Launcher, in_folder, launcher, script};

const GO_ON: &str = "has left processes of other programs in its group, which go on until all is stopped";

/// A supervisor of php-cgi, for scripts in the private folder. `None` if there is no php-cgi.
fn php(options: &[&str], variables: &[&str], scripts: &[(&str, &str)]) -> Option<Launcher> {
    let php = Program::installed("php-cgi")?;
    let options = [&["-s", "@/app.sock"], options].concat();
    let program = [&["/usr/bin/env"], variables, &[php.path().to_str().expect("a plain path"), "-n"]].concat();
    let launcher = Launcher::start_with(&options, &program, |dir| {
        for (name, text) in scripts {
            fs::write(dir.join(name), text).expect("written");
        }
    });
    is_up(&launcher);
    Some(launcher)
}

fn is_up(launcher: &Launcher) {
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
}

fn says(launcher: &Launcher, what: &str) {
    launcher.process.stderr().wait_for_line(what, |line| line.contains(what));
}

/// A request for a script, on a connection of its own.
fn request(launcher: &Launcher, name: &str) -> fcgi_tests::Connection {
    let file = launcher.path(name);
    let mut connection = connect(&launcher.socket());
    let params = [("SCRIPT_FILENAME", file.to_str().expect("a plain path"))];
    connection.send(&wire::request(1, 0, name, &params, b""));
    connection
}

fn pid_in(launcher: &Launcher, name: &str) -> Stray {
    let pid = eventually("a pid", || fs::read_to_string(launcher.path(name)).ok()?.trim().parse().ok());
    Stray::adopt(pid)
}

/// The signal that asks a worker to end is not for what it has started, which would end before it has answered.
#[test]
fn a_command_of_a_request_is_not_interrupted() {
    let text = "<?php touch(__DIR__ . '/begun'); echo shell_exec('sleep 1; echo done');";
    // It answers what it has accepted, so that it is the signal that matters here.
    let Some(mut launcher) = php(&["--drain", "off"], &[], &[("slow.php", text)]) else {
        skip!("php-cgi is not installed")
    };
    let mut client = request(&launcher, "slow.php");
    eventually("a request under way", || launcher.path("begun").exists().then_some(()));
    launcher.process.signal(Signal::HUP);
    assert_eq!(client.response(1).text(), "done\n");
    // php-cgi waits for that.
    drop(client);
    says(&launcher, ": reloaded");
}

/// php-cgi ends after a number of requests, 500 by default.
#[test]
fn a_job_in_the_background_survives_the_end_of_its_worker() {
    let text = "<?php exec('sleep 1000 >/dev/null 2>&1 & echo $! >' . __DIR__ . '/job');";
    let variables = ["PHP_FCGI_MAX_REQUESTS=1"];
    let Some(mut launcher) = php(&["--restart-delay", "100ms"], &variables, &[("job.php", text)]) else {
        skip!("php-cgi is not installed")
    };
    let php = Stray::adopt(proc::children(launcher.process.pid())[0]);
    request(&launcher, "job.php").response(1);
    let job = pid_in(&launcher, "job");
    php.wait_gone();
    says(&launcher, GO_ON);
    launcher.process.signal(Signal::HUP);
    says(&launcher, ": reloaded");
    assert!(job.is_alive());
    assert_eq!(launcher.process.stop().code(), Some(0));
    job.wait_gone();
}

/// The children of php-cgi are parts of it.
#[test]
fn what_serves_like_a_worker_ends_with_it() {
    let text = "<?php exec('sleep 1000 >/dev/null 2>&1 & echo $! >' . __DIR__ . '/job');";
    let Some(launcher) = php(&["--restart-delay", "1h"], &["PHP_FCGI_CHILDREN=2"], &[("job.php", text)]) else {
        skip!("php-cgi is not installed")
    };
    request(&launcher, "job.php").response(1);
    let job = pid_in(&launcher, "job");
    let leader = Stray::adopt(proc::children(launcher.process.pid())[0]);
    let children = eventually("two children", || {
        let found = proc::children(leader.pid());
        (found.len() == 2).then(|| found.into_iter().map(Stray::adopt).collect::<Vec<_>>())
    });
    leader.signal(Signal::KILL);
    says(&launcher, "has left processes in its group that serve like it, stopped");
    children.iter().for_each(Stray::wait_gone);
    assert!(job.is_alive(), "it is of another program");
}

#[test]
fn a_helper_of_python_survives_a_reload() {
    let Some(python) = Program::installed("python3") else { skip!("Python is not installed") };
    let text = "import signal, subprocess, sys\n\
        helper = subprocess.Popen(['sleep', '1000'])\n\
        open(sys.argv[1], 'w').write(str(helper.pid))\n\
        signal.pause()\n";
    let program = [python.path().to_str().expect("a plain path"), "-c", text, "@/helper"];
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock"], &program, |_| ());
    is_up(&launcher);
    let helper = pid_in(&launcher, "helper");
    launcher.process.signal(Signal::HUP);
    says(&launcher, ": reloaded");
    says(&launcher, GO_ON);
    assert!(helper.is_alive());
    assert_eq!(launcher.process.stop().code(), Some(0));
    helper.wait_gone();
}

/// What ended workers have left is not forgotten by the next version.
#[test]
fn a_helper_is_known_after_an_upgrade() {
    let text = "sleep 1000 </dev/null & echo $! >@/helper; exec perl -e 'sleep 1000'";
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock"], &["@/program"], |dir| {
        script(dir, "program", &text.replace('@', dir.to_str().expect("a plain path")));
    });
    is_up(&launcher);
    let helper = pid_in(&launcher, "helper");
    launcher.process.signal(Signal::HUP);
    says(&launcher, ": reloaded");
    says(&launcher, GO_ON);
    launcher.process.signal(Signal::USR2);
    says(&launcher, "has taken over");
    assert!(helper.is_alive());
    assert_eq!(launcher.process.stop().code(), Some(0));
    helper.wait_gone();
}

/// A process whose first thread has ended looks as if it had ended, too.
#[test]
fn a_part_without_its_first_thread_ends_with_its_worker() {
    let Some(python) = Program::installed("python3") else { skip!("Python is not installed") };
    let text = "import ctypes, os, signal, sys, threading\n\
        if os.fork() == 0:\n\
        \x20   threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
        \x20   open(sys.argv[1], 'w').write(str(os.getpid()))\n\
        \x20   ctypes.CDLL(None).pthread_exit(None)\n\
        signal.pause()\n";
    let program = [python.path().to_str().expect("a plain path"), "-c", text, "@/part"];
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock"], &program, |_| ());
    is_up(&launcher);
    let part = pid_in(&launcher, "part");
    eventually("the end of its first thread", || {
        fs::read_to_string(format!("/proc/{}/stat", part.pid())).ok()?.contains(") Z ").then_some(())
    });
    assert_eq!(launcher.process.stop().code(), Some(0));
    eventually("the end of the process", || (!Path::new(&format!("/proc/{}", part.pid())).exists()).then_some(()));
}

/// A shell that did not write `exec` is in front of the program: what has the listening socket is stopped in its place.
#[test]
fn the_program_behind_a_shell_ends_with_it() {
    let text = "sleep 1000 </dev/null & echo $! >@/helper\nperl -e 'sleep 1000'; true";
    let mut launcher = Launcher::start_with(&["-s", "@/app.sock"], &["@/program"], |dir| {
        script(dir, "program", &text.replace('@', dir.to_str().expect("a plain path")));
    });
    is_up(&launcher);
    let helper = pid_in(&launcher, "helper");
    let shell = proc::children(launcher.process.pid())[0];
    let perl = eventually("the program", || proc::descendants_named(shell, "perl").first().copied());
    let (shell, perl) = (Stray::adopt(shell), Stray::adopt(perl));
    launcher.process.signal(Signal::HUP);
    says(&launcher, ": reloaded");
    shell.wait_gone();
    perl.wait_gone();
    assert!(helper.is_alive(), "it has no socket");
    assert_eq!(launcher.process.stop().code(), Some(0));
    helper.wait_gone();
}

/// Nothing tells parts and helpers apart.
#[test]
fn without_proc_all_that_is_left_is_stopped() {
    needs_root!();
    let dir = temp_dir();
    let text = "sleep 1000 </dev/null & echo $! >@/helper; exec 2>&1; read line";
    let program = script(dir.path(), "program", &text.replace('@', dir.path().to_str().expect("a plain path")));
    let spawn = launcher().get_program().to_owned();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]).arg(spawn);
    command.args(in_folder(&["-s", "@/app.sock", "--restart-delay", "1h", "-n", "--"], dir.path())).arg(program);
    let mut process = Process::start(&mut command);
    let said = |what: &str| process.stderr().wait_for_line(what, |line| line.contains(what));
    // The socket is no file that can be read.
    said("whether they serve like it cannot be seen in /proc");
    let pid = fs::read_to_string(dir.path().join("helper")).expect("a pid").trim().parse().expect("a number");
    Stray::adopt(pid).wait_gone();
    assert!(Address::Unix(dir.path().join("app.sock")).connect().is_ok());
    assert_eq!(process.stop().code(), Some(0));
}
