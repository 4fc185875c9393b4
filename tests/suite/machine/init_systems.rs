//! dist/init/README.md: its commands are typed into a Debian of its own, where they have to do what they are said to
//! do, under requests.

use std::fs;
use std::os::unix::fs::MetadataExt;

use fcgi_tests::{Address, Signal, Stray, blocks, eventually, needs_root, proc, repository, skip};

use super::{Init, Machine, Supervisor, under_requests};
use crate::app::{expect_hello, wait_until_it_listens};

/// The commands of a section.
struct Section {
    /// What installs and starts, in order.
    install: Vec<String>,
    /// What does as the comment behind it says: `status`, `reload`, ...
    verbs: Vec<(String, String)>,
}

impl Section {
    #[track_caller]
    fn of(name: &str) -> Self {
        let page = fs::read_to_string(repository().join("dist/init/README.md")).expect("the page can be read");
        let block = blocks(&page).into_iter().find(|block| block.value("test") == Some(name));
        let text = block.unwrap_or_else(|| panic!("no block test={name}")).text;
        let mut section = Section { install: Vec::new(), verbs: Vec::new() };
        for line in text.lines() {
            let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
            let command = command.trim().to_owned();
            match comment {
                "status" | "reload" | "upgrade" | "restart" | "stop" | "start" => {
                    section.verbs.push((comment.to_owned(), command));
                }
                _ => section.install.push(command),
            }
        }
        assert!(!section.install.is_empty());
        section
    }

    /// The command that does `verb`.
    #[track_caller]
    fn verb(&self, verb: &str) -> &str {
        self.find(verb).unwrap_or_else(|| panic!("no command to {verb}"))
    }

    fn find(&self, verb: &str) -> Option<&str> {
        self.verbs.iter().find(|(name, _)| name == verb).map(|(_, command)| &**command)
    }
}

/// A machine with our programs on it, and the application configured.
fn machine(init: Init) -> Result<Machine, &'static str> {
    let machine = Machine::boot(init)?;
    machine.install("fcgi-spawn", "/usr/bin/fcgi-spawn");
    machine.install("hello", "/usr/local/bin/app");
    machine.copy_dist();
    for command in Section::of("default").install {
        machine.run(&command);
    }
    Ok(machine)
}

/// What every init system has to do.
fn scenario(machine: &Machine, section: &Section) {
    for command in &section.install {
        machine.run(command);
    }
    let first = machine.supervisor(2);
    let socket = machine.socket();
    wait_until_it_listens(&socket);
    expect_hello(&socket);
    let file = fs::metadata(machine.path("/run/fcgi-spawn/app.sock")).expect("a socket");
    assert_eq!((file.uid(), file.mode() & 0o777), (33, 0o640), "it is www-data's");
    for &worker in &first.workers {
        assert_eq!(proc::status(worker, "Uid"), ["33"; 4]);
        let environment = proc::environment(worker);
        assert!(!environment.iter().any(|variable| variable.starts_with("FCGI_SPAWN_STATE")), "{environment:?}");
    }
    eventually("a good status", || {
        let check = &Section::of("check").install[0];
        let (status, said) = machine.try_run(check);
        (status.success() && said == "2 of 2 workers up\n").then_some(())
    });
    assert!(!machine.run(section.verb("status")).is_empty());

    let reloaded = under_requests(&socket, || {
        machine.run(section.verb("reload"));
        others_than(machine, &first.workers)
    });
    assert_eq!(reloaded.pid, first.pid);

    machine.install("fcgi-spawn", "/usr/bin/fcgi-spawn");
    let new = fs::metadata(machine.path("/usr/bin/fcgi-spawn")).expect("a program");
    under_requests(&socket, || {
        machine.run(section.verb("upgrade"));
        eventually("the new program", || {
            let running = fs::metadata(format!("/proc/{}/exe", first.pid)).ok()?;
            (running.ino() == new.ino()).then_some(())
        });
    });
    assert_eq!(machine.supervisor(2).workers, reloaded.workers);

    let restarted = match section.find("restart") {
        Some(restart) => {
            machine.run(restart);
            others_than(machine, &reloaded.workers)
        }
        None => reloaded,
    };
    assert_eq!(restarted.pid != first.pid, section.find("restart").is_some());
    expect_hello(&socket);

    machine.run(section.verb("stop"));
    machine.wait_stopped();
    eventually("an empty /run", || (!machine.path("/run/fcgi-spawn").exists()).then_some(()));

    machine.run(section.find("start").unwrap_or(&section.install[0]));
    machine.supervisor(2);
    wait_until_it_listens(&socket);
    expect_hello(&socket);
}

/// The supervisor, when none of its workers is one of these.
#[track_caller]
fn others_than(machine: &Machine, old: &[u32]) -> Supervisor {
    eventually("other workers", || {
        let now = machine.supervisor(2);
        now.workers.iter().all(|worker| !old.contains(worker)).then_some(now)
    })
}

/// Kills the supervisor, which is started again by somebody.
fn it_comes_back(machine: &Machine) {
    let before = machine.supervisor(2);
    Stray::adopt(before.pid).signal(Signal::KILL);
    let after = others_than(machine, &before.workers);
    assert_ne!(after.pid, before.pid);
    eventually("an answer", || machine.socket().connect().ok());
    expect_hello(&machine.socket());
}

/// A machine, or the end of the test.
macro_rules! machine {
    ($init:expr) => {{
        needs_root!();
        match machine($init) {
            Ok(machine) => machine,
            Err(why) => skip!("{why}"),
        }
    }};
}

#[test]
fn sysvinit() {
    let machine = machine!(Init::BusyBox(""));
    let section = Section::of("sysvinit");
    let script = "/etc/init.d/fcgi-spawn";
    scenario(&machine, &section);
    assert!(machine.run(&format!("{script} start")).contains("already running"));
    let links = machine.run("ls /etc/rc0.d /etc/rc2.d /etc/rc6.d");
    assert_eq!(links.matches("fcgi-spawn").count(), 3, "{links}");

    // As it is called at boot and at shutdown.
    machine.run("/etc/rc0.d/K*fcgi-spawn stop");
    machine.wait_stopped();
    machine.run("/etc/rc2.d/S*fcgi-spawn start");
    let before = machine.supervisor(2);

    let code = |action: &str| machine.try_run(&format!("{script} {action}")).0.code();
    assert_eq!(code("status"), Some(0));
    Stray::adopt(before.pid).signal(Signal::KILL);
    machine.wait_stopped();
    assert_eq!(code("status"), Some(1), "it died");
    assert_eq!(code("start"), Some(0));
    assert_ne!(machine.supervisor(2).pid, before.pid);
    assert_eq!(code("stop"), Some(0));
    assert_eq!((code("status"), code("stop"), code("reload"), code("dance")), (Some(3), Some(0), Some(7), Some(2)));
    assert_eq!(code("try-restart"), Some(0));
    machine.wait_stopped();

    // A number that belongs to somebody else by now.
    machine.run("mkdir -p /run/fcgi-spawn && printf 1 >/run/fcgi-spawn/pid");
    assert_eq!((code("status"), code("stop")), (Some(1), Some(0)));

    // A second application is a link and a file, and what is not configured is not started.
    machine.run("ln -s fcgi-spawn /etc/init.d/blog");
    let said = machine.run("/etc/init.d/blog start");
    assert!(said.contains("nothing to run") && machine.processes("fcgi-spawn").is_empty(), "{said}");
    machine.run("sed 's|/fcgi-spawn/|/blog/|' /etc/default/fcgi-spawn >/etc/default/blog && /etc/init.d/blog start");
    machine.supervisor(2);
    expect_hello(&Address::Unix(machine.path("/run/blog/app.sock")));
    machine.run("/etc/init.d/blog stop");
    machine.wait_stopped();
}

#[test]
fn start_stop_daemon() {
    let machine = machine!(Init::BusyBox(""));
    scenario(&machine, &Section::of("start-stop-daemon"));
}

#[test]
fn start_stop_daemon_of_busybox() {
    let machine = machine!(Init::BusyBox(""));
    machine.run("ln -sf /bin/busybox /usr/local/sbin/start-stop-daemon");
    scenario(&machine, &Section::of("start-stop-daemon"));
}

#[test]
fn runit() {
    // As Debian's runit-init and runit-run do it.
    let machine = machine!(Init::BusyBox("::respawn:/usr/bin/runsvdir -P /etc/service\n"));
    machine.run("mkdir -p /etc/service");
    let mut section = Section::of("runit");
    // It is found within five seconds, which the commands after this one do not wait for.
    section.install.push("until sv -w 30 start fcgi-spawn; do sleep 0.1; done".into());
    scenario(&machine, &section);
    it_comes_back(&machine);
}

#[test]
fn s6() {
    let machine =
        machine!(Init::BusyBox("::sysinit:/bin/mkdir -p /run/service\n::respawn:/usr/bin/s6-svscan /run/service\n"));
    eventually("s6-svscan", || machine.path("/run/service/.s6-svscan/control").exists().then_some(()));
    scenario(&machine, &Section::of("s6"));
    it_comes_back(&machine);
}

#[test]
fn openrc() {
    let machine = machine!(Init::BusyBox(""));
    machine
        .run("dpkg -i /srv/packages/openrc_* /srv/packages/librc1_* /srv/packages/libeinfo1_* /srv/packages/insserv_*");
    // Where it booted the machine, this says how far.
    machine.run("mkdir -p /run/openrc && touch /run/openrc/softlevel");
    scenario(&machine, &Section::of("openrc"));
    machine.run("sed -i 's|^PROGRAM=.*|PROGRAM=\"\"|' /etc/conf.d/fcgi-spawn && rc-service fcgi-spawn stop");
    let (status, said) = machine.try_run("rc-service fcgi-spawn start");
    assert!(!status.success() && said.contains("nothing to run"), "{said}");
}

#[test]
fn busybox() {
    let machine = machine!(Init::BusyBox(""));
    scenario(&machine, &Section::of("busybox"));
    it_comes_back(&machine);
}

#[test]
fn systemd() {
    let machine = machine!(Init::Systemd);
    scenario(&machine, &Section::of("systemd"));
    it_comes_back(&machine);
    let state = |property: &str| machine.run(&format!("systemctl show --value -p {property} fcgi-spawn"));
    assert_eq!(state("StatusText"), "2 of 2 workers up\n");
    assert_eq!(state("NRestarts"), "1\n");

    // The unit itself takes nothing that programs which send mail need, the drop-in does.
    let no_new_privileges = || proc::status(machine.supervisor(2).workers[0], "NoNewPrivs").concat();
    assert_eq!(no_new_privileges(), "0");
    let before = machine.supervisor(2);
    for command in Section::of("systemd-hardening").install {
        machine.run(&command);
    }
    others_than(&machine, &before.workers);
    assert_eq!(no_new_privileges(), "1");
    expect_hello(&machine.socket());
    machine.run("rm -r /etc/systemd/system/fcgi-spawn.service.d && systemctl daemon-reload");

    // With its own socket, which lets clients wait through a restart.
    machine.run("systemctl stop fcgi-spawn");
    for command in Section::of("systemd-socket").install {
        machine.run(&command);
    }
    assert!(machine.processes("fcgi-spawn").is_empty());
    let socket = Address::Unix(machine.path("/run/fcgi-spawn.sock"));
    expect_hello(&socket);
    let first = machine.supervisor(2);
    let second = under_requests(&socket, || {
        machine.run("systemctl restart fcgi-spawn");
        others_than(&machine, &first.workers)
    });
    assert_ne!(second.pid, first.pid);

    // What is not configured is skipped, and has not failed.
    machine.run("systemctl disable --now fcgi-spawn.socket && systemctl stop fcgi-spawn");
    machine.run("sed -i 's|^PROGRAM=.*|PROGRAM=\"\"|' /etc/default/fcgi-spawn && systemctl start fcgi-spawn");
    assert_eq!((&*state("ActiveState"), &*state("Result")), ("inactive\n", "exec-condition\n"));
}
