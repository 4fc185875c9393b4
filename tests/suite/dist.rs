//! What is in dist/, as far as it can be looked at without installing it: scripts that shells accept, units that
//! systemd accepts, recipes of packages. tests/suite/machine installs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fcgi_tests::{
    Address, Process, Program, TempDir, blocks, eventually, once_is_enough, proc, repository, skip, temp_dir,
};

use crate::app::{expect_hello, wait_until_it_listens};
use crate::launcher::path_of;

fn dist(path: &str) -> PathBuf {
    repository().join("dist").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(dist(path)).unwrap_or_else(|error| panic!("dist/{path}: {error}"))
}

/// A command's output, which has to succeed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let mut process = Process::start(command.stdin(Stdio::null()));
    let status = process.wait_exit();
    let (stdout, stderr) = (process.stdout().to_end(), process.stderr().to_end());
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout + &stderr
}

/// All shell scripts below dist/, by their first line.
fn scripts() -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![dist("")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.extend((!path.ends_with("dist/out")).then_some(path));
            } else {
                let text = fs::read(&path).expect("a file");
                let first = String::from_utf8_lossy(text.split(|&byte| byte == b'\n').next().unwrap_or_default());
                let shell = ["#!/bin/sh", "#!/sbin/openrc-run"].iter().any(|start| first.starts_with(start));
                found.extend((shell || path.ends_with("APKBUILD")).then_some(path));
            }
        }
    }
    assert!(found.len() >= 10, "{found:?}");
    found
}

/// Old routers have BusyBox, old distributions dash.
#[test]
fn shells_accept_all_scripts() {
    once_is_enough!();
    for script in scripts() {
        run(Command::new("/bin/sh").arg("-n").arg(&script));
        if let Some(busybox) = Program::installed("busybox") {
            run(busybox.command().args(["sh", "-n"]).arg(&script));
        }
    }
}

/// Words are split where that is meant, and who reads a variable is not always in the same file.
const MEANT: &str = "--exclude=SC1090,SC2034,SC2086,SC2154";

#[test]
fn shellcheck_accepts_all_scripts() {
    once_is_enough!();
    let Some(shellcheck) = Program::installed("shellcheck") else { skip!("shellcheck is not installed") };
    for script in scripts() {
        let text = fs::read_to_string(&script).expect("a script");
        // OpenRC and OpenWrt have `local`.
        let posix = text.starts_with("#!/bin/sh\n");
        let dialect = if posix { "sh" } else { "dash" };
        run(shellcheck.command().args([MEANT, "-s", dialect]).arg(&script));
    }
}

#[test]
fn completions_are_those_that_the_program_prints() {
    for (shell, file) in [("bash", "fcgi-spawn.bash"), ("zsh", "_fcgi-spawn"), ("fish", "fcgi-spawn.fish")] {
        let printed = run(Program::ours("fcgi-spawn").command().args(["--completions", shell]));
        let again = format!("target/release/fcgi-spawn --completions {shell} >dist/completions/{file}");
        assert!(printed == read(&format!("completions/{file}")), "the options have changed: {again}");
    }
}

/// The words of a command line in a unit or a script, as fcgi-spawn finds them with our defaults.
fn command_line(line: &str, folder: &str) -> Vec<String> {
    let defaults = read("init/default");
    let options = defaults.lines().find_map(|line| line.strip_prefix("OPTIONS=")).expect("options");
    let line = line.replace("$OPTIONS", options.trim_matches('"')).replace("$PROGRAM", "/usr/bin/app");
    line.replace(folder, "fcgi-spawn").split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
}

/// What systemd executes, as it would with these variables.
fn exec_start(variables: &[(&str, &str)]) -> Vec<String> {
    let unit = read("init/fcgi-spawn.service");
    let line =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a line").replace("%N", "fcgi-spawn");
    variables
        .iter()
        .fold(line, |line, (name, value)| line.replace(name, value))
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn systemd_accepts_the_units() {
    once_is_enough!();
    let Some(analyze) = Program::installed("systemd-analyze") else { skip!("systemd is not installed") };
    let dir = temp_dir();
    for unit in ["fcgi-spawn.service", "fcgi-spawn.socket"] {
        // It looks for the program.
        let program = path_of("fcgi-spawn");
        let text =
            read(&format!("init/{unit}")).replace("/usr/bin/fcgi-spawn", program.to_str().expect("a plain path"));
        fs::write(dir.path().join(unit), text).expect("a unit");
    }
    for unit in ["fcgi-spawn.service", "fcgi-spawn.socket"] {
        let said = run(analyze.command().args(["--man=no", "verify"]).arg(dir.path().join(unit)));
        assert!(!said.contains("fcgi-spawn."), "{said}");
    }
}

/// `systemd-analyze security` in tenths, from 0 to 100: of the unit as it is, and with the drop-in.
#[test]
fn the_service_is_restricted_and_more_so_with_the_drop_in() {
    once_is_enough!();
    let Some(analyze) = Program::installed("systemd-analyze") else { skip!("systemd is not installed") };
    let help = run(analyze.command().arg("--help"));
    if !help.contains("--offline") {
        skip!("systemd-analyze has no --offline, which came with 250");
    }
    let dir = temp_dir();
    let unit = dir.path().join("fcgi-spawn.service");
    fs::write(&unit, read("init/fcgi-spawn.service").replace("/usr/bin/fcgi-spawn", "/bin/true")).expect("a unit");
    let exposure = || {
        let said = run(analyze.command().args(["security", "--offline=true", "--no-pager"]).arg(&unit));
        let level =
            said.lines().find_map(|line| line.split_once("exposure level for fcgi-spawn.service: ")?.1.split_once(' '));
        level.and_then(|(level, _)| level.replace('.', "").parse::<u32>().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    let alone = exposure();
    fs::create_dir(dir.path().join("fcgi-spawn.service.d")).expect("a directory");
    fs::copy(dist("init/hardening.conf"), dir.path().join("fcgi-spawn.service.d/hardening.conf")).expect("a copy");
    let hardened = exposure();
    assert!(alone < 70 && hardened < 40, "{alone} alone, {hardened} with the drop-in");
    let page = read("init/README.md");
    for level in [alone, hardened] {
        assert!(page.contains(&format!("{}.{}", level / 10, level % 10)), "dist/init/README.md does not name {level}");
    }
    let said = run(analyze.command().args(["--man=no", "verify"]).arg(&unit));
    assert!(!said.contains("fcgi-spawn."), "{said}");
}

/// With the drop-in PHP's mail() fails, which is what its comments are for: no line is without one.
#[test]
fn each_line_of_the_drop_in_says_what_it_breaks() {
    let text = read("init/hardening.conf");
    let blocks: Vec<&str> = text.split_once("[Service]\n").expect("a section").1.split("\n\n").collect();
    assert!(blocks.len() > 10, "{text}");
    for block in blocks {
        assert!(block.starts_with("# ") && block.lines().any(|line| !line.starts_with('#')), "{block}");
    }
    let unit = read("init/fcgi-spawn.service");
    for breaks in ["NoNewPrivileges", "MemoryDenyWriteExecute", "PrivateTmp", "ProtectSystem", "ProtectHome", "@debug"]
    {
        assert!(text.contains(breaks) && !unit.contains(breaks), "{breaks}");
    }
}

/// With the socket unit: the service's own command line, which finds its socket in LISTEN_FDS, and says that it is
/// ready as Type=notify wants it.
#[test]
fn the_service_takes_systemds_socket() {
    let Some(activate) = Program::installed("systemd-socket-activate") else { skip!("systemd is not installed") };
    let dir = temp_dir();
    let (socket, status, notify) = (dir.path().join("sock"), dir.path().join("status"), dir.path().join("notify"));
    let systemd = std::os::unix::net::UnixDatagram::bind(&notify).expect("a socket");
    systemd.set_read_timeout(Some(fcgi_tests::PATIENCE)).expect("a timeout");
    let page = read("init/README.md");
    let options = page.lines().find_map(|line| line.split_once("OPTIONS=\"-u www-data ")?.1.split_once('"'));
    let options = options.expect("options without a socket").0;
    let (spawn, hello) = (path_of("fcgi-spawn"), path_of("hello"));
    let words = exec_start(&[
        ("/usr/bin/fcgi-spawn", spawn.to_str().expect("a plain path")),
        ("/run/fcgi-spawn/status", status.to_str().expect("a plain path")),
        ("$OPTIONS", &format!("{options} --canary 200ms")),
        ("$PROGRAM", hello.to_str().expect("a plain path")),
    ]);
    let mut command = activate.command();
    command.arg("-l").arg(&socket).arg("-E").arg(format!("NOTIFY_SOCKET={}", notify.display())).args(&words);
    let mut service = Process::start(&mut command);
    let address = Address::Unix(socket);
    wait_until_it_listens(&address);
    // The first connection starts it.
    expect_hello(&address);
    let mut message = [0; 4096];
    let ready = loop {
        let length = systemd.recv(&mut message).expect("a message");
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.starts_with("READY=1") {
            break text;
        }
    };
    assert_eq!(ready, format!("READY=1\nMAINPID={}", service.pid()));
    let workers = eventually("two workers", || {
        let found = proc::descendants_named(service.pid(), "hello");
        (found.len() == 2).then_some(found)
    });
    // ExecReload.
    service.signal(fcgi_tests::Signal::HUP);
    eventually("new workers", || {
        let found = proc::descendants_named(service.pid(), "hello");
        (found.len() == 2 && !found.iter().any(|worker| workers.contains(worker))).then_some(())
    });
    expect_hello(&address);
    assert_eq!(service.stop().code(), Some(0));
}

/// All stanzas of a job of version 1.5, which Ubuntu 12.04 has: init(5).
const STANZAS: [&str; 36] = [
    "apparmor",
    "author",
    "chdir",
    "chroot",
    "console",
    "debug",
    "description",
    "emits",
    "end",
    "env",
    "exec",
    "expect",
    "export",
    "instance",
    "kill",
    "limit",
    "manual",
    "nice",
    "normal",
    "oom",
    "post-start",
    "post-stop",
    "pre-start",
    "pre-stop",
    "reload",
    "respawn",
    "script",
    "session",
    "setgid",
    "setuid",
    "start",
    "stop",
    "task",
    "umask",
    "usage",
    "version",
];

#[test]
fn upstarts_job_has_stanzas_of_1_5_and_good_scripts() {
    once_is_enough!();
    let text = read("init/upstart.conf");
    let mut scripts = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(&first) = words.first().filter(|word| !word.starts_with('#')) else { continue };
        assert!(STANZAS.contains(&first), "{line}");
        if words.contains(&"script") {
            let script: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "end script").collect();
            scripts.push(script.join("\n"));
        }
    }
    assert_eq!(scripts.len(), 2);
    let dir = temp_dir();
    let main = check_upstart_script(dir.path(), &scripts);
    let command = main.lines().find_map(|line| line.trim().strip_prefix("exec ")).expect("exec");
    accepts(&command_line(command, "$UPSTART_JOB"));
}

/// The scripts pass; gives the last one.
fn check_upstart_script<'a>(dir: &Path, scripts: &'a [String]) -> &'a str {
    for script in scripts {
        let file = dir.join("script");
        fs::write(&file, format!("#!/bin/sh -e\n{script}\n")).expect("a script");
        run(Command::new("/bin/sh").arg("-n").arg(&file));
        if let Some(shellcheck) = Program::installed("shellcheck") {
            run(shellcheck.command().args([MEANT, "-s", "sh"]).arg(&file));
        }
    }
    scripts.last().expect("a script")
}

/// fcgi-spawn understands a command line: what it fails on is that the program is not there.
#[track_caller]
fn accepts(words: &[String]) {
    assert_eq!(words[0], "/usr/bin/fcgi-spawn");
    let dir = temp_dir();
    let in_folder = |word: &String| match word.strip_prefix("/run/").or(word.strip_prefix("/var/run/")) {
        Some(file) => dir.path().join(file).into_os_string(),
        None => word.replace("/usr/bin/app", "/nonexistent/app").into(),
    };
    // Users and owners are root's to choose, and not in question here.
    let (mut arguments, mut skip) = (Vec::new(), false);
    for word in words[1..].iter().filter(|word| *word != "--on-demand") {
        if !skip && word != "-u" && word != "-U" {
            arguments.push(in_folder(word));
        }
        skip = word == "-u" || word == "-U";
    }
    let mut process = Process::start(Program::ours("fcgi-spawn").command().args(arguments));
    let status = process.wait_exit();
    let said = process.stderr().to_end();
    assert!(status.code() == Some(2) && said.contains("/nonexistent/app"), "{words:?}: {status}: {said}");
}

/// What OpenWrt's rc.common would have to know, as little as our script needs of it.
const RC_COMMON: &str = r#"
config_load() { [ "$1" = fcgi-spawn ]; }
config_foreach() { "$1" app; }
config_get() { eval "$1=\${uci_$3:-\${4:-}}"; }
config_get_bool() { config_get "$@"; }
procd_open_instance() { echo "instance $1"; }
procd_set_param() { name=$1; shift; for word; do echo "$name $word"; done; }
procd_close_instance() { :; }
procd_send_signal() { echo "signal $*"; }
procd_add_reload_trigger() { echo "trigger $1"; }
eval "$(awk '$1 == "option" { gsub("\047", ""); print "uci_" $2 "=\"" substr($0, index($0, $3)) "\"" }' "$CONFIG")"
uci_enabled=${ENABLED:-$uci_enabled}
. "$1"
start() { start_service; }
"$2"
"#;

#[test]
fn procd_is_told_what_to_run() {
    let dir = temp_dir();
    let common = dir.path().join("rc.common");
    fs::write(&common, RC_COMMON).expect("a script");
    let act = |action: &str, enabled: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.arg(&common).arg(dist("init/procd/init")).arg(action);
        run(shell.env("CONFIG", dist("init/procd/config")).env("ENABLED", enabled))
    };
    assert_eq!(act("start", ""), "", "nothing is enabled as it is shipped");
    let said = act("start", "1");
    assert!(said.starts_with("instance app\n"), "{said}");
    let words: Vec<String> = said.lines().filter_map(|line| line.strip_prefix("command ")).map(str::to_owned).collect();
    accepts(&words);
    assert!(words.contains(&"/var/run/fcgi-spawn/app.sock".to_owned()) && words.contains(&"nobody".to_owned()));
    // It is not there.
    let mut reload = Command::new("/bin/sh");
    reload.arg(&common).arg(dist("init/procd/init")).arg("reload_service");
    let reload = reload.env("CONFIG", dist("init/procd/config")).env("ENABLED", "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(reload.stdout.starts_with(b"instance app\n") && reload.status.code() == Some(1), "{reload:?}");
    assert!(said.contains("/usr/bin/fcgi-spawn"), "it reloads nothing: {said}");
    assert_eq!(act("upgrade", "1"), "signal fcgi-spawn * USR2\n");
    assert_eq!(act("service_triggers", "1"), "trigger fcgi-spawn\n");
}

/// The files below a folder, without it.
fn tree(folder: &Path) -> Vec<String> {
    let found = run(Command::new("find").args([".", "!", "-type", "d"]).current_dir(folder));
    let mut files: Vec<String> = found.lines().map(|line| line.trim_start_matches('.').to_owned()).collect();
    files.sort();
    files
}

#[track_caller]
fn contains_all(files: &[String], wanted: &[&str]) {
    for wanted in wanted {
        assert!(files.iter().any(|file| file == wanted), "{wanted} is not in {files:#?}");
    }
}

const COMPLETIONS: [&str; 3] = [
    "/usr/share/bash-completion/completions/fcgi-spawn",
    "/usr/share/zsh/site-functions/_fcgi-spawn",
    "/usr/share/fish/vendor_completions.d/fcgi-spawn.fish",
];
const PAGES: [&str; 2] = ["/usr/share/man/man1/fcgi-spawn.1", "/usr/share/man/man1/fcgi-get.1"];
const PROGRAMS: [&str; 2] = ["/usr/bin/fcgi-get", "/usr/bin/fcgi-spawn"];

/// Another program's spawn-fcgi stays.
#[test]
fn what_is_installed_is_removed() {
    once_is_enough!();
    let root = temp_dir();
    let programs = temp_dir();
    for program in ["fcgi-spawn", "fcgi-get"] {
        fs::write(programs.path().join(program), program).expect("a file");
    }
    let install = |words: &[&Path]| run(Command::new(dist("install")).args(words).arg(root.path()));
    install(&[programs.path()]);
    install(&[Path::new("--as-spawn-fcgi")]);
    contains_all(
        &tree(root.path()),
        &["/usr/bin/fcgi-spawn", "/usr/bin/spawn-fcgi", "/usr/share/man/man1/spawn-fcgi.1"],
    );
    install(&[Path::new("--remove")]);
    assert_eq!(tree(root.path()), [""; 0]);

    install(&[programs.path()]);
    fs::write(root.path().join("usr/bin/spawn-fcgi"), "another").expect("a file");
    install(&[Path::new("--remove")]);
    assert_eq!(tree(root.path()), ["/usr/bin/spawn-fcgi"]);
}

/// Before there was a program fcgi-get, static builds had a link to fcgi-spawn of that name.
#[test]
fn a_link_of_an_earlier_version_is_replaced() {
    once_is_enough!();
    let (root, programs) = (temp_dir(), temp_dir());
    let bin = root.path().join("usr/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::write(bin.join("fcgi-spawn"), "an earlier version").expect("a file");
    std::os::unix::fs::symlink("fcgi-spawn", bin.join("fcgi-get")).expect("a link");
    for program in ["fcgi-spawn", "fcgi-get"] {
        fs::write(programs.path().join(program), program).expect("a file");
    }
    run(Command::new(dist("install")).arg(programs.path()).arg(root.path()));
    for program in ["fcgi-spawn", "fcgi-get"] {
        let installed = bin.join(program);
        assert!(fs::symlink_metadata(&installed).expect("a file").is_file(), "{program} is no file");
        assert_eq!(fs::read_to_string(&installed).expect("text"), program);
    }
    assert_eq!(fs::read_dir(&bin).expect("a directory").count(), 2, "something else was left");
}

/// `package` and the like are executed as abuild does it, with programs that are built already.
#[test]
fn alpines_package_has_all_files() {
    once_is_enough!();
    let recipe = |function: &str, folder: &TempDir| {
        let programs = Program::folder();
        let clone = temp_dir();
        for name in ["dist", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.toml"] {
            let link = std::os::unix::fs::symlink(repository().join(name), clone.path().join(name));
            link.expect("a link");
        }
        fs::create_dir(clone.path().join("target")).expect("a folder");
        std::os::unix::fs::symlink(programs, clone.path().join("target/release")).expect("a link");
        let line = format!(
            "set -eu; startdir={0}/dist/alpine pkgdir={1} subpkgdir={1}; . \"$startdir/APKBUILD\"; \
             builddir={0}; cd \"$builddir\"; {function}",
            clone.path().display(),
            folder.path().display()
        );
        run(Command::new("/bin/sh").args(["-c", &line]))
    };
    let folder = temp_dir();
    recipe("package", &folder);
    let files = tree(folder.path());
    contains_all(&files, &[&COMPLETIONS[..], &PAGES, &PROGRAMS].concat());
    contains_all(&files, &["/etc/init.d/fcgi-spawn", "/etc/conf.d/fcgi-spawn"]);
    contains_all(
        &files,
        &["/usr/share/licenses/fcgi-spawn/LICENSE-MIT", "/usr/share/licenses/fcgi-spawn/LICENSE-APACHE"],
    );
    let folder = temp_dir();
    recipe("as_spawn_fcgi", &folder);
    contains_all(&tree(folder.path()), &["/usr/bin/spawn-fcgi", "/usr/share/man/man1/spawn-fcgi.1"]);
    // What the recipe names is there.
    let version = run(Command::new("/bin/sh")
        .args(["-c", "startdir=.; . \"$0\"; echo $pkgver $install"])
        .arg(dist("alpine/APKBUILD")));
    let words: Vec<&str> = version.split_whitespace().collect();
    assert_eq!(words[0], workspace_version());
    assert!(words[1..].iter().all(|file| dist("alpine").join(file).is_file()), "{words:?}");
}

/// The recipe is executed by make with the few definitions of OpenWrt that it uses.
#[test]
fn openwrts_packages_have_all_files() {
    once_is_enough!();
    let Some(make) = Program::installed("make") else { skip!("make is not installed") };
    let (top, root) = (temp_dir(), temp_dir());
    let rules = top.path().join("feeds/packages/lang/rust");
    fs::create_dir_all(&rules).expect("a folder");
    fs::create_dir(top.path().join("include")).expect("a folder");
    fs::write(rules.join("rust-package.mk"), "RUST_ARCH_DEPENDS:=@rust\n").expect("a file");
    fs::write(top.path().join("include/package.mk"), "").expect("a file");
    let definitions = "INCLUDE_DIR:=$(TOPDIR)/include\n\
        INSTALL_DIR:=install -d -m0755\nINSTALL_BIN:=install -m0755\nINSTALL_CONF:=install -m0600\nINSTALL_DATA:=install -m0644\n\
        define BuildPackage\nall:: $(1)\n.PHONY: $(1)\n$(1):\n\t$$(call Package/$(1)/install,$(ROOT)/$(1))\nendef\n";
    fs::write(top.path().join("rules.mk"), definitions).expect("a file");
    std::os::unix::fs::symlink(Program::folder(), top.path().join("bin")).expect("a link");
    let mut command = make.command();
    command.arg("-C").arg(dist("openwrt")).arg("all");
    for (name, folder) in [("TOPDIR", top.path()), ("ROOT", root.path()), ("PKG_INSTALL_DIR", top.path())] {
        command.arg(format!("{name}={}", folder.display()));
    }
    run(&mut command);
    let files = |package: &str| tree(&root.path().join(package));
    contains_all(
        &files("fcgi-spawn"),
        &[&PROGRAMS[..], &["/etc/init.d/fcgi-spawn", "/etc/config/fcgi-spawn"]].concat(),
    );
    contains_all(&files("fcgi-spawn-doc"), &[&COMPLETIONS[..], &PAGES].concat());
    contains_all(&files("fcgi-spawn-as-spawn-fcgi"), &["/usr/bin/spawn-fcgi", "/usr/share/man/man1/spawn-fcgi.1"]);
    let mode = fs::metadata(root.path().join("fcgi-spawn/etc/init.d/fcgi-spawn")).expect("a script").mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(read("openwrt/Makefile").contains(&format!("\nPKG_VERSION:={}\n", workspace_version())));
}

/// cargo reads the manifests of all members, whichever of them it builds.
#[test]
fn openwrts_recipe_copies_all_members() {
    once_is_enough!();
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).expect("a manifest");
    let between = |text: &str, begin: &str, end: &str| {
        let rest = text.split_once(begin).map(|(_, rest)| rest.to_owned());
        rest.and_then(|rest| Some(rest.split_once(end)?.0.to_owned())).unwrap_or_else(|| panic!("no {begin}"))
    };
    let members = between(&manifest, "\nmembers = [", "]");
    let copied = between(&read("openwrt/Makefile"), "$(addprefix $(CLONE)/,", ")");
    let copied: Vec<&str> = copied.split_whitespace().collect();
    let members: Vec<&str> = members.split(['"', ',', ' ', '\n']).filter(|word| !word.is_empty()).collect();
    assert!(members.contains(&"fcgi-tools"), "{members:?}");
    for member in members {
        let directory = member.split('/').next().unwrap_or(member);
        assert!(copied.contains(&directory), "{member} is not in {copied:?}");
    }
}

fn workspace_version() -> String {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).expect("a manifest");
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version");
    line.trim_matches('"').to_owned()
}

/// Every file of dist/init is copied by a command of the page, and what commands copy is there.
#[test]
fn the_page_of_init_systems_is_complete() {
    let page = read("init/README.md");
    let commands: Vec<String> = blocks(&page).into_iter().flat_map(|block| lines(&block.text)).collect();
    let sources = commands.iter().filter(|line| line.starts_with("cp ") || line.starts_with("cat "));
    let copied: Vec<&str> =
        sources.flat_map(|line| line.split_whitespace()).filter_map(|word| word.strip_prefix("dist/init/")).collect();
    for source in &copied {
        let path = source.trim_end_matches("/*");
        assert!(dist("init").join(path).exists(), "{source} is not there");
    }
    for file in tree(&dist("init")) {
        let file = file.trim_start_matches('/');
        let folder = file.split_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/*"));
        assert!(file == "README.md" || copied.contains(&file) || copied.contains(&&*folder), "{file} is not copied");
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
