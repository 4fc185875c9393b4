//! dist/debian: packages that are installed, upgraded under requests, removed and purged in a Debian of its own.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use fcgi_tests::{Process, Program, TempDir, eventually, needs_root, proc, repository, skip};

use super::{Init, Machine, TIME, under_requests};
use crate::app::{expect_hello, wait_until_it_listens};

/// Makes the packages of a version of what was built, in a folder of the machine.
fn build(machine: &Machine, version: &str) {
    let out = TempDir::new().expect("a folder");
    let mut command = Command::new(repository().join("dist/debian/build"));
    command.arg(Program::folder()).arg(out.path()).env("VERSION", version);
    let mut build = Process::start(&mut command);
    let status = build.wait_exit_within(TIME);
    assert!(status.success(), "{}", build.stderr().to_end());
    for entry in fs::read_dir(out.path()).expect("a folder") {
        let package = entry.expect("a package");
        fs::copy(package.path(), machine.path("/srv").join(package.file_name())).expect("copied");
    }
}

/// Everything there is, but for what dpkg notes for itself.
fn files(machine: &Machine) -> BTreeSet<String> {
    let found = machine.run("find /etc /usr /var -xdev; find /run -name 'fcgi*'");
    let ours = ["/var/lib/dpkg", "/var/log", "/var/cache", "/var/tmp", "/etc/.pwd.lock"];
    found.lines().filter(|file| !ours.iter().any(|own| file.starts_with(own))).map(str::to_owned).collect()
}

/// A machine, or the end of the test.
macro_rules! machine {
    ($init:expr) => {{
        needs_root!();
        if Program::installed("dpkg-shlibdeps").is_none() {
            skip!("dpkg-dev is not installed");
        }
        match Machine::boot($init) {
            Ok(machine) => machine,
            Err(why) => skip!("{why}"),
        }
    }};
}

#[test]
fn debian_with_system_v_scripts() {
    let machine = machine!(Init::BusyBox(""));
    // invoke-rc.d asks for it, and BusyBox init has none.
    fs::write(machine.path("/sbin/runlevel"), "#!/bin/sh\necho N 2\n").expect("written");
    machine.run("chmod 755 /sbin/runlevel");
    life_of_a_package(&machine);
}

#[test]
fn debian_with_systemd() {
    let machine = machine!(Init::Systemd);
    life_of_a_package(&machine);
}

/// Installed, configured, upgraded, removed, installed again and purged.
#[track_caller]
fn life_of_a_package(machine: &Machine) {
    machine.install("hello", "/usr/local/bin/app");
    build(machine, "1.0");
    build(machine, "1.1");
    let before = files(machine);

    // Nothing is configured: nothing is started, and that is no error.
    let said = machine.run("dpkg -i /srv/fcgi-spawn_1.0_*.deb");
    assert!(!said.contains("rror"), "{said}");
    assert!(machine.processes("fcgi-spawn").is_empty());
    let installed = machine.run("dpkg -L fcgi-spawn; ls /etc/rc2.d");
    for file in [
        "/usr/bin/fcgi-spawn",
        "/usr/bin/fcgi-get",
        "/usr/share/man/man1/fcgi-spawn.1.gz",
        "/usr/share/man/man1/fcgi-get.1.gz",
        "/usr/share/bash-completion/completions/fcgi-spawn",
        "/usr/share/zsh/vendor-completions/_fcgi-spawn",
        "/usr/share/fish/vendor_completions.d/fcgi-spawn.fish",
        "/usr/share/doc/fcgi-spawn/LICENSE-MIT",
        "/usr/share/doc/fcgi-spawn/LICENSE-APACHE",
        "/lib/systemd/system/fcgi-spawn.service",
        "/lib/systemd/system/fcgi-spawn.socket",
        "/etc/init.d/fcgi-spawn",
        "fcgi-spawn",
    ] {
        assert!(installed.lines().any(|line| line.ends_with(file)), "{file} is not in\n{installed}");
    }
    assert_eq!(machine.run("dpkg --verify fcgi-spawn"), "");
    for program in ["fcgi-spawn", "fcgi-get"] {
        let version = machine.run(&format!("{program} -v"));
        assert!(version.starts_with(&format!("{program} ")), "{version}");
    }

    machine.run("sed -i 's|^PROGRAM=.*|PROGRAM=\"/usr/local/bin/app\"|' /etc/default/fcgi-spawn");
    machine.run("invoke-rc.d fcgi-spawn start");
    let running = machine.supervisor(2);
    let socket = machine.socket();
    wait_until_it_listens(&socket);

    under_requests(&socket, || {
        machine.run("dpkg -i --force-confold /srv/fcgi-spawn_1.1_*.deb");
        eventually("the new program", || {
            (proc::link(running.pid, "exe")?.ends_with("usr/bin/fcgi-spawn")).then_some(())
        });
    });
    let upgraded = machine.supervisor(2);
    assert_eq!((upgraded.pid, upgraded.workers), (running.pid, running.workers));
    assert!(machine.run("cat /etc/default/fcgi-spawn").contains("PROGRAM=\"/usr/local/bin/app\""));

    machine.run("dpkg -r fcgi-spawn");
    machine.wait_stopped();
    assert!(!machine.path("/run/fcgi-spawn").exists() && !machine.path("/usr/bin/fcgi-spawn").exists());
    // What it is configured to do is still there.
    machine.run("dpkg -i --force-confold /srv/fcgi-spawn_1.1_*.deb");
    machine.supervisor(2);
    wait_until_it_listens(&socket);
    expect_hello(&socket);

    machine.run("dpkg -P fcgi-spawn");
    machine.wait_stopped();
    let left = files(machine);
    let left: Vec<_> = left.difference(&before).filter(|file| !file.starts_with("/etc/rc")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!machine.run("ls /etc/rc*.d").contains("fcgi-spawn"));
}

/// Debian's spawn-fcgi and ours are side by side, or one in place of the other.
#[test]
fn debians_spawn_fcgi() {
    let machine = machine!(Init::BusyBox(""));
    build(&machine, "1.0");
    machine.run("dpkg -i /srv/packages/spawn-fcgi_*.deb /srv/fcgi-spawn_1.0_*.deb");
    assert_eq!(machine.run("dpkg -S /usr/bin/spawn-fcgi"), "spawn-fcgi: /usr/bin/spawn-fcgi\n");
    // Which of them it is is for whoever installs it to say.
    machine.run("dpkg -i /srv/spawn-fcgi-is-fcgi-spawn_1.0_all.deb");
    assert_ne!(machine.run("dpkg-query -W -f '${db:Status-Status}' spawn-fcgi"), "installed");
    assert_eq!(machine.run("readlink /usr/bin/spawn-fcgi"), "fcgi-spawn\n");
    assert!(machine.run("spawn-fcgi --help").contains("spawn-fcgi"));
    assert!(machine.path("/usr/share/man/man1/spawn-fcgi.1.gz").exists());
    machine.run("dpkg -P spawn-fcgi-is-fcgi-spawn");
    assert!(!machine.path("/usr/bin/spawn-fcgi").exists());
}
