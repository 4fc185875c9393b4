//! How `fcgi-spawn` finds a program: by its path, or by its name in `PATH`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fcgi_tests::{Process, Program, Signal, Stray, TempDir, copy_program, eventually, needs_root, proc, temp_dir};

use crate::app::{expect_hello, fails_with_one_line};
use crate::launcher::{Launcher, in_folder, launcher, path_of, script};
use crate::supervise::replace;
use crate::supervised::{jail, public_hello};

/// The ways in which a launcher starts a program, and what is in front of its message if it cannot.
const WAYS: [(&[&str], &str); 4] =
    [(&["-n"], ""), (&[], ""), (&["--once"], "child exited with: N: "), (&["--once", "-n"], "exec failed: ")];

/// A private directory from which launchers are started.
struct Case {
    dir: TempDir,
    /// The `PATH` of the launcher.
    path: Option<String>,
}

impl Case {
    /// `@` in the `PATH` stands for the private directory.
    fn new(path: &str) -> Self {
        let dir = temp_dir();
        let path = in_folder(&[path], dir.path()).concat();
        Case { dir, path: Some(path) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes an executable script `app` in this directory, which writes the directory's name into the file `started`
    /// and stays.
    fn app(&self, directory: &str) -> PathBuf {
        fs::create_dir_all(self.path(directory)).expect("a directory");
        let started = self.path("started");
        let text = format!("echo {directory} >{0}.new; mv {0}.new {0}; exec /bin/sleep 1000", started.display());
        // The launcher's PATH is not for the script's own commands.
        script(&self.path(directory), "app", &format!("PATH=/usr/bin:/bin\n{text}"))
    }

    /// The same as a file that may not be executed.
    fn denied_app(&self, directory: &str) {
        let app = self.app(directory);
        fs::set_permissions(app, fs::Permissions::from_mode(0o644)).expect("the script is ours");
    }

    /// `fcgi-spawn -s @/app.sock OPTIONS -- PROGRAM`. `@` stands for the private directory.
    fn command(&self, options: &[&str], program: &str) -> Command {
        self.command_of(launcher(), options, program)
    }

    fn command_of(&self, mut command: Command, options: &[&str], program: &str) -> Command {
        command.args(in_folder(&["-s", "@/app.sock"], self.dir.path())).args(in_folder(options, self.dir.path()));
        command.arg("--").args(in_folder(&[program], self.dir.path())).current_dir(self.dir.path());
        match &self.path {
            Some(path) => command.env("PATH", path),
            None => command.env_remove("PATH"),
        };
        command
    }

    /// Starts `app` under a supervisor and returns the directory in which it was found.
    #[track_caller]
    fn finds(&self, options: &[&str]) -> String {
        let mut process = Process::start(&mut self.command(&[options, &["-n"]].concat(), "app"));
        let found = self.started();
        process.stop();
        found
    }

    /// The directory in which the last start has found `app`; asked for once.
    #[track_caller]
    fn started(&self) -> String {
        let started = eventually("a start", || fs::read_to_string(self.path("started")).ok());
        fs::remove_file(self.path("started")).expect("it is ours");
        started.trim_end().to_owned()
    }

    /// In every way the program is refused with this message and status, and nothing is executed or left.
    #[track_caller]
    fn refuses(&self, options: &[&str], program: &str, errno: i32, message: &str) {
        let message = in_folder(&[message], self.dir.path()).concat();
        for (way, prefix) in WAYS {
            let prefix = prefix.replace('N', &errno.to_string());
            let (status, line) = fails_with_one_line(&mut self.command(&[options, way].concat(), program));
            assert_eq!(line, format!("fcgi-spawn: {prefix}cannot execute {message}\n"), "{way:?}");
            assert_eq!(status, errno, "{way:?}: {line}");
            assert!(!self.path("started").exists(), "{way:?}: it was executed");
            assert!(!self.path("app.sock").exists(), "{way:?}: the socket is left");
        }
    }
}

#[test]
fn a_name_is_found_in_the_first_directory_of_path_that_has_it() {
    let case = Case::new("@/none:@/first:@/second");
    case.app("second");
    assert_eq!(case.finds(&[]), "second");
    case.app("first");
    assert_eq!(case.finds(&[]), "first");
    let mut process = Process::start(&mut case.command(&["-n", "--once"], "app"));
    assert_eq!(case.started(), "first");
    eventually("the program in the same process", || {
        (proc::command_line(process.pid()) == ["/bin/sleep", "1000"]).then_some(())
    });
    process.stop();
}

#[test]
fn it_is_found_in_the_background_and_with_once() {
    for way in ["--once", "--supervise"] {
        let case = Case::new("@/bin");
        case.app("bin");
        let mut process = Process::start(&mut case.command(&[way, "-P", "@/pid"], "app"));
        assert_eq!(process.wait_exit().code(), Some(0), "{}", process.stderr().text());
        let pid = fs::read_to_string(case.path("pid")).expect("a pid file");
        let started = Stray::adopt(pid.parse().expect("a pid"));
        assert_eq!(case.started(), "bin");
        started.signal(Signal::TERM);
        started.wait_gone();
    }
}

#[test]
fn a_file_that_may_not_be_executed_is_passed_over() {
    let case = Case::new("@/denied:@/missing:@/good");
    case.denied_app("denied");
    case.app("good");
    assert_eq!(case.finds(&[]), "good");
}

#[test]
fn a_file_that_may_not_be_executed_is_named_if_there_is_no_other() {
    let case = Case::new("@/missing:@/denied:@/other");
    case.denied_app("denied");
    case.denied_app("other");
    let us = fs::metadata("/proc/self").expect("we are a process");
    let why = format!("Permission denied for uid {}, gid {}", us.uid(), us.gid());
    case.refuses(&[], "app", 13, &format!("'@/denied/app': {why}"));
}

#[test]
fn a_file_that_is_no_program_is_named() {
    let case = Case::new("@/missing:@/junk:@/good");
    fs::create_dir(case.path("junk")).expect("a directory");
    fcgi_tests::write_executable(&case.path("junk/app"), "no program");
    case.app("good");
    case.refuses(&[], "app", 8, "'@/junk/app': Exec format error");
}

#[test]
fn a_missing_interpreter_is_not_a_missing_program() {
    let case = Case::new("@/missing:@/bin");
    fs::create_dir(case.path("bin")).expect("a directory");
    fcgi_tests::write_executable(&case.path("bin/app"), "#!/nonexistent/interpreter\n");
    let why = "No such file or directory (its interpreter or dynamic loader is missing)";
    case.refuses(&[], "app", 2, &format!("'@/bin/app': {why}"));
    case.refuses(&[], "@/bin/app", 2, &format!("'@/bin/app': {why}"));
}

#[test]
fn a_name_that_is_not_found_is_reported_with_the_directories() {
    let case = Case::new("@/missing:@:/:@/x\ny");
    case.refuses(&[], "app", 2, r"'app': not found in PATH (@/missing:@:/:@/x\ny)");
    let case = Case::new("");
    case.refuses(&[], "app", 2, "'app': not found in PATH (no absolute directories)");
}

#[test]
fn without_path_the_usual_directories_are_searched() {
    let case = Case { path: None, ..Case::new("") };
    let absent = "fcgi-spawn-test-no-such-program";
    case.refuses(&[], absent, 2, &format!("'{absent}': not found in PATH (/usr/local/bin:/usr/bin:/bin)"));
    let process = Process::start(case.command(&["-n"], "sleep").arg("1000"));
    eventually("a worker", || proc::descendants_named(process.pid(), "sleep").first().copied());
}

/// Neither is it executed by an element of `PATH` that means the working directory.
#[test]
fn a_file_in_the_working_directory_is_refused() {
    let case = Case::new(":.:bin:@/missing:./bin:");
    let here = case.app(".");
    case.app("bin");
    case.refuses(&[], "app", 2, "'app': not found in PATH (@/missing); it is in the working directory: write './app'");
    let mut process = Process::start(&mut case.command(&["-n"], "./app"));
    assert_eq!(case.started(), ".");
    process.stop();
    fs::remove_file(here).expect("it is ours");
    case.refuses(&[], "app", 2, "'app': not found in PATH (@/missing)");
    // A directory is nothing to execute.
    case.refuses(&[], "bin", 2, "'bin': not found in PATH (@/missing)");
}

#[test]
fn the_working_directory_is_the_one_of_d() {
    let case = Case::new("@/bin");
    case.app("work");
    let hint = "'app': not found in PATH (@/bin); it is in the working directory: write './app'";
    case.refuses(&["-d", "@/work"], "app", 2, hint);
    case.refuses(&["-d", "work"], "app", 2, hint);
    case.app("bin");
    assert_eq!(case.finds(&["-d", "@/work"]), "bin");
}

#[test]
fn a_relative_path_that_is_not_found_is_reported_with_its_directory() {
    let case = Case::new("@/bin");
    case.app("bin");
    let here = case.dir.path().canonicalize().expect("it exists");
    let missing = |directory: &str| format!("'./app': No such file or directory in '{}{directory}'", here.display());
    case.refuses(&[], "./app", 2, &missing(""));
    case.refuses(&["-d", "."], "./app", 2, &missing(""));
    fs::create_dir(case.path("work")).expect("a directory");
    case.refuses(&["-d", "work"], "./app", 2, &missing("/work"));
    case.refuses(&[], "/missing/app", 2, "'/missing/app': No such file or directory");
}

#[test]
fn a_program_is_searched_at_each_start() {
    let case = Case::new("@/first:@/second");
    let second = case.app("second");
    let delay = ["--restart-delay", "50ms", "--backoff-after", "off", "-n"];
    let process = Process::start(&mut case.command(&delay, "app"));
    let stderr = process.stderr();
    let end_worker = || {
        let worker = eventually("a worker", || proc::descendants_named(process.pid(), "sleep").first().copied());
        Stray::adopt(worker).signal(Signal::KILL);
    };
    assert_eq!(case.started(), "second");
    stderr.wait_for_line("all is up", |line| line.contains("ready, "));

    // Installed in a directory that comes earlier.
    let first = case.app("first");
    end_worker();
    assert_eq!(case.started(), "first");

    // Removed, and installed after a start that has failed.
    for app in [&first, &second] {
        fs::rename(app, app.with_extension("away")).expect("it is ours");
    }
    end_worker();
    let directories = in_folder(&["@/first:@/second"], case.dir.path()).concat();
    let want = format!("cannot execute 'app': not found in PATH ({directories}), restart in 50ms");
    stderr.wait_for_line(&want, |line| line.contains(&want));
    fs::rename(second.with_extension("away"), &second).expect("it is ours");
    assert_eq!(case.started(), "second");
}

#[test]
fn a_file_in_the_working_directory_is_refused_at_a_restart() {
    let case = Case::new("@/bin");
    let app = case.app("bin");
    let process = Process::start(&mut case.command(&["--restart-delay", "50ms", "-n"], "app"));
    assert_eq!(case.started(), "bin");
    process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    case.app(".");
    fs::remove_file(app).expect("it is ours");
    let worker = eventually("a worker", || proc::descendants_named(process.pid(), "sleep").first().copied());
    Stray::adopt(worker).signal(Signal::KILL);
    process
        .stderr()
        .wait_for_line("a refusal", |line| line.contains("; it is in the working directory: write './app'"));
    assert!(!case.path("started").exists(), "it was executed");
}

/// The original executes a file in the working directory and knows no `PATH`.
#[test]
fn as_spawn_fcgi_nothing_is_searched() {
    let case = Case::new("@/bin");
    case.app("bin");
    let called = case.path("spawn-fcgi");
    symlink(Program::ours("fcgi-spawn").path(), &called).expect("a symlink");
    let command = |options: &[&str]| {
        let mut command = Command::new(&called);
        command.stdin(Stdio::null());
        case.command_of(command, options, "app")
    };
    let ways: [(&[&str], &str); 4] = [
        (&[], "child exited with: 2: "),
        (&["-n"], "exec failed: "),
        (&["--supervise"], ""),
        (&["--supervise", "-n"], ""),
    ];
    for (way, prefix) in ways {
        let (status, line) = fails_with_one_line(&mut command(way));
        let want = format!("spawn-fcgi: {prefix}cannot execute 'app': No such file or directory\n");
        assert_eq!((status, line), (2, want), "{way:?}");
    }
    case.app(".");
    for way in [&["-n"][..], &["--supervise", "-n"]] {
        let mut process = Process::start(&mut command(way));
        assert_eq!(case.started(), ".", "{way:?}");
        process.stop();
    }
}

/// Makes a root directory with `hello` at `jail/bin/hello`, for everyone.
fn jail_with_hello(dir: &Path) {
    public_hello(dir);
    jail(dir);
    fs::create_dir_all(dir.join("jail/bin")).expect("a directory");
    fs::rename(dir.join("jail/hello"), dir.join("jail/bin/hello")).expect("it is ours");
}

#[test]
fn a_name_is_searched_inside_the_chroot() {
    needs_root!();
    let case = Case::new("/usr/bin:/bin");
    jail_with_hello(case.dir.path());
    let options = ["-S", "-c", "@/jail", "-u", "nobody"];
    let start = |program: &str| Process::start(&mut case.command(&[&options[..], &["-n"]].concat(), program));
    {
        let launcher = Launcher::of(start("hello"), temp_dir());
        let worker = launcher.workers(1)[0];
        assert_eq!(proc::link(worker, "exe"), Some(case.path("jail/bin/hello")));
        expect_hello(&fcgi_tests::Address::Unix(case.path("app.sock")));
    }
    // There is one outside.
    assert!(Path::new("/bin/sleep").exists());
    case.refuses(&options, "sleep", 2, "'sleep': not found in PATH (/usr/bin:/bin) inside '@/jail'");
    fcgi_tests::write_executable(&case.path("jail/sleep"), "#!/nonexistent\n");
    let hint = "it is in the working directory: write './sleep'";
    case.refuses(&options, "sleep", 2, &format!("'sleep': not found in PATH (/usr/bin:/bin) inside '@/jail'; {hint}"));
    let why = "No such file or directory (its interpreter or dynamic loader is missing inside '@/jail')";
    case.refuses(&options, "./sleep", 2, &format!("'./sleep': {why}"));
    case.refuses(&options, "/sbin/x", 2, "'/sbin/x': No such file or directory inside '@/jail'");
    case.refuses(&options, "sbin/x", 2, "'sbin/x': No such file or directory in '/' inside '@/jail'");
}

/// A directory that the user of the worker may not enter is passed over, although root may.
#[test]
fn a_name_is_searched_with_the_rights_of_the_worker() {
    needs_root!();
    let case = Case::new("@/private:@/bin");
    public_hello(case.dir.path());
    for (directory, mode) in [("private", 0o700), ("bin", 0o755)] {
        fs::create_dir(case.path(directory)).expect("a directory");
        copy_program(&path_of("hello"), &case.path(directory).join("hello"));
        fs::set_permissions(case.path(directory), fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let launcher = Launcher::of(Process::start(&mut case.command(&["-n", "-u", "nobody"], "hello")), temp_dir());
    assert_eq!(proc::link(launcher.workers(1)[0], "exe"), Some(case.path("bin/hello")));
    drop(launcher);
    fs::remove_file(case.path("bin/hello")).expect("it is ours");
    // Nothing is known of what is in a directory that is closed.
    let why = "not found in PATH (@/private:@/bin); uid 65534, gid 65534 may not enter '@/private'";
    case.refuses(&["-u", "nobody", "-d", "/"], "hello", 2, &format!("'hello': {why}"));
}

#[test]
fn auto_update_watches_the_file_that_was_found() {
    let (case, launcher) = watching();
    replace(&case.path("second/hello"), &path_of("hello"));
    assert_eq!(reloaded(&launcher), case.path("second/hello"));
}

#[test]
fn auto_update_finds_a_file_that_comes_first_in_the_search() {
    let (case, launcher) = watching();
    copy_program(&path_of("hello"), &case.path("first/hello"));
    assert_eq!(reloaded(&launcher), case.path("first/hello"));
}

/// A launcher with --auto-update, which has found its program in the second of two directories.
fn watching() -> (Case, Launcher) {
    let case = Case::new("@/first:@/second");
    for directory in ["first", "second"] {
        fs::create_dir(case.path(directory)).expect("a directory");
    }
    copy_program(&path_of("hello"), &case.path("second/hello"));
    let launcher = Launcher::of(
        Process::start(&mut case.command(&["-n", "--auto-update", "--canary", "200ms"], "hello")),
        temp_dir(),
    );
    launcher.process.stderr().wait_for_line("all is up", |line| line.contains("ready, "));
    (case, launcher)
}

/// The program of the worker after a reload.
#[track_caller]
fn reloaded(launcher: &Launcher) -> PathBuf {
    launcher.process.stderr().wait_for_line("a reload", |line| line.contains("reloaded"));
    eventually("one worker", || {
        let workers = proc::descendants_named(launcher.process.pid(), "hello");
        if workers.len() == 1 { proc::link(workers[0], "exe") } else { None }
    })
}
