//! Whole machines: what is installed, started at boot, upgraded and removed, as an administrator does it.

mod init_systems;
mod package;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fcgi_tests::{
    Address, Process, Program, Signal, Stray, TempDir, copy_program, eventually, proc, repository, temp_dir,
};

use crate::app::expect_hello;

/// How long a command in there may take: it may wait for workers, for the end of some, or for a compiler.
pub(crate) const TIME: Duration = Duration::from_secs(300);

/// A Debian with its own processes and mounts, separate from this machine. All of it is gone with the value.
pub(crate) struct Machine {
    namespace: Process,
    /// Its process 1.
    init: Stray,
    disk: TempDir,
    /// The working directory of commands, if it is there.
    directory: PathBuf,
    /// The folder of cargo, which is everybody's.
    cargo: PathBuf,
    /// How many commands have been run.
    commands: AtomicUsize,
    /// The environment of commands, besides.
    environment: Vec<(&'static str, OsString)>,
}

/// Who types a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    /// An ordinary user, `reader`, who owns the repository, as after a `git clone`. Only in a [`Machine::copy`].
    Reader,
}

/// What a machine's process 1 is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Init {
    /// With these lines in `/etc/inittab`.
    BusyBox(&'static str),
    Systemd,
}

/// The kernel lays a layer of memory over the folder that all share; where it cannot, it is copied.
const DISK: &str = r#"set -e
mount -t tmpfs tmpfs "$2"
cd "$2"
mkdir changed work root
mount -t overlay overlay -o lowerdir="$1",upperdir=changed,workdir=work root 2>/dev/null || cp -a "$1/." root
mount -t proc proc root/proc
mount -t tmpfs -o mode=755 tmpfs root/run
"#;

const BUSYBOX: &str = r#"
printf '%s' "$3" >root/etc/inittab
ln -s /bin/busybox root/sbin/init
exec chroot root /bin/sh -c 'cd / && echo up && exec /sbin/init'
"#;

/// What it finds is what systemd expects of a container. Of what Debian starts at boot only what nothing works without.
const SYSTEMD: &str = r#"
mount --bind root/proc/sys root/proc/sys
mount -o remount,bind,ro root/proc/sys
mount -t sysfs -o ro sysfs root/sys
mount -t cgroup2 cgroup2 root/sys/fs/cgroup
rm -rf root/etc/systemd/system/*.wants
for unit in systemd-udevd.service systemd-logind.service systemd-journald-audit.socket getty.target; do
    ln -sf /dev/null "root/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target root/etc/systemd/system/default.target
ln -s /lib/systemd/systemd root/sbin/init
exec env container=fcgi-tests chroot root /bin/sh -c 'cd / && echo up && exec /sbin/init'
"#;

/// This machine once more: whatever is written goes to memory. The folders that are given may be on disks of their own.
/// A change of a file's owner copies nothing but the owner (metacopy).
const COPY: &str = r#"set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
shift
mkdir changed work root
mount -t overlay overlay -o metacopy=on,lowerdir=/,upperdir=changed,workdir=work root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs -o mode=1777 tmpfs root/dev/shm
mount -t tmpfs -o mode=755 tmpfs root/run
mount -t tmpfs -o mode=1777 tmpfs root/tmp
mkdir root/run/lock
number=0
for folder; do
    number=$((number + 1))
    mkdir -p "root$folder" "changed$number" "work$number"
    mount -t overlay overlay -o "metacopy=on,lowerdir=$folder,upperdir=changed$number,workdir=work$number" "root$folder"
done
ip link set lo up
exec chroot root /bin/sh -c 'echo up; sleep infinity & wait'
"#;

/// Makes the ordinary user, who owns the repository with its release programs, and may use the other folders.
const READER: &str = r#"set -e
echo 'reader:x:4711:4711::/home/reader:/bin/sh' >>/etc/passwd
echo 'reader:x:4711:' >>/etc/group
mkdir -p /home/reader
chown reader:reader /home/reader
find "$1" -path "$1/target/*" -prune -o -exec chown -h reader:reader {} +
if [ -d "$1/target/release" ]; then chown -R reader:reader "$1/target/release"; fi
for folder; do
    find "$folder" -maxdepth 3 -type d -exec chown reader:reader {} +
    find "$folder" -maxdepth 1 -type f -exec chown reader:reader {} +
    while [ "$folder" != / ]; do
        chmod a+rx "$folder"
        folder=$(dirname "$folder")
    done
done
"#;

/// A control group for systemd to rule, so that the groups of the machine we run on stay as they are.
const GROUP: &str = r#"set -e
mkdir "$2/groups"
mount -t cgroup2 cgroup2 "$2/groups"
mkdir "$2/groups/fcgi-tests.$$"
echo $$ >"$2/groups/fcgi-tests.$$/cgroup.procs"
exec unshare --mount --pid --cgroup --ipc --net --uts --fork --kill-child /bin/sh -c "$0" boot "$@"
"#;

impl Machine {
    /// One that has come up; or why there is none.
    #[track_caller]
    pub(crate) fn boot(init: Init) -> Result<Self, &'static str> {
        let base = env::var_os("FCGI_TEST_DEBIAN").filter(|base| !base.is_empty());
        let base = base.ok_or("tests/debian-root gives no Debian to start from")?;
        let disk = temp_dir();
        let mut command = Command::new("unshare");
        match init {
            Init::BusyBox(inittab) => {
                command.args(["--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c"]);
                command.arg([DISK, BUSYBOX].concat()).arg("boot").arg(&base).arg(disk.path()).arg(inittab);
            }
            Init::Systemd => {
                command.args(["--mount", "/bin/sh", "-c", GROUP]);
                command.arg([DISK, SYSTEMD].concat()).arg(&base).arg(disk.path());
            }
        }
        let namespace = Process::start(&mut command);
        namespace.stdout().wait_for_line("a machine that is up", |line| line == "up");
        let first = Stray::adopt(proc::children(namespace.pid())[0]);
        let environment = vec![("DEBIAN_FRONTEND", "noninteractive".into())];
        let (directory, cargo) = ("/src".into(), "/usr/bin".into());
        let machine =
            Machine { namespace, init: first, disk, directory, cargo, commands: AtomicUsize::new(0), environment };
        eventually("process 1", || {
            let name = proc::name(machine.init.pid())?;
            (name == if matches!(init, Init::Systemd) { "systemd" } else { "init" }).then_some(())
        });
        if matches!(init, Init::Systemd) {
            eventually("systemd", || {
                machine.try_run("systemctl is-active multi-user.target").0.success().then_some(())
            });
        }
        Ok(machine)
    }

    /// This machine, as it is, with its own processes, mounts and network: anything may be typed there. Commands begin
    /// in the repository. Or why there is none.
    #[track_caller]
    pub(crate) fn copy() -> Result<Self, &'static str> {
        for program in ["unshare", "nsenter", "setpriv", "ip"] {
            if Program::installed(program).is_none() {
                return Err("util-linux and iproute2 are not installed");
            }
        }
        let (directory, disk) = (repository(), temp_dir());
        // There is no network by which cargo and pip could fetch anything.
        let mut environment = vec![("CARGO_NET_OFFLINE", "true".into())];
        let mut folders = vec![directory.clone()];
        for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let home = env::var_os("HOME").unwrap_or_default();
            let folder = env::var_os(variable).map_or_else(|| Path::new(&home).join(folder), PathBuf::from);
            if folder.is_dir() {
                environment.push((variable, folder.clone().into()));
                folders.push(folder);
            }
        }
        if let Some(flup) = env::var_os("FCGI_TEST_FLUP").map(PathBuf::from).filter(|flup| flup.is_dir()) {
            environment.extend([("PIP_NO_INDEX", "1".into()), ("PIP_FIND_LINKS", flup.join("wheels").into())]);
            folders.push(flup);
        }
        let cargo = Program::installed("cargo");
        let cargo = cargo.as_ref().and_then(|cargo| cargo.path().parent()).unwrap_or(Path::new("/usr/bin")).to_owned();
        environment.extend(env::var_os("RUSTUP_TOOLCHAIN").map(|toolchain| ("RUSTUP_TOOLCHAIN", toolchain)));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--ipc", "--net", "--uts", "--fork", "--kill-child", "/bin/sh", "-c", COPY]);
        command.arg("copy").arg(disk.path()).args(&folders);
        let namespace = Process::start(&mut command);
        namespace.stdout().wait_for_line("a copy of this machine", |line| line == "up");
        let first = Stray::adopt(proc::children(namespace.pid())[0]);
        let machine =
            Machine { namespace, init: first, disk, directory, cargo, commands: AtomicUsize::new(0), environment };
        let folders: Vec<_> = folders.iter().map(|folder| format!("'{}'", folder.display())).collect();
        machine.run(&format!("set -- {}\n{READER}", folders.join(" ")));
        Ok(machine)
    }

    /// A file in there, as seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.init.pid());
        Path::new(&root).join(path.strip_prefix('/').expect("an absolute path"))
    }

    /// Puts one of our programs where it belongs.
    pub(crate) fn install(&self, program: &str, path: &str) {
        let target = self.path(path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder can be made");
        // As dpkg does it: the old file may be running.
        let new = target.with_extension("new");
        copy_program(Program::ours(program).path(), &new);
        fs::rename(new, target).expect("a program can be put in place");
    }

    /// Copies what we ship to /src, where commands begin.
    pub(crate) fn copy_dist(&self) {
        let source = self.path("/src");
        fs::create_dir_all(&source).expect("a folder can be made");
        let copy = Command::new("cp").arg("-r").arg(repository().join("dist")).arg(source).status();
        assert!(copy.is_ok_and(|status| status.success()));
    }

    /// A command line in there, by the shell. `first` is what root's shell does before it becomes the user's.
    fn line(&self, user: User, first: &str, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.init.pid()))
            .args(["--mount", "--pid", "--ipc", "--net", "--uts", "--root", "--wd"])
            .args(["--", "/bin/sh", "-c", &format!("cd \"$0\" 2>/dev/null || cd /; {first} exec \"$@\"")])
            .arg(&self.directory);
        if user == User::Reader {
            command.args(["setpriv", "--reuid=reader", "--regid=reader", "--init-groups"]);
        }
        command.args(["/bin/sh", "-c", line]).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (home, path) = match user {
            User::Root => ("/root", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            User::Reader => ("/home/reader", "/usr/local/bin:/usr/bin:/bin"),
        };
        command.env("HOME", home).env("PATH", format!("{path}:{}", self.cargo.display()));
        command
    }

    /// A command line in there, as a user types it.
    pub(crate) fn command(&self, user: User, line: &str) -> Command {
        self.line(user, "", line)
    }

    /// Runs a command line as root to its end: its exit status and output.
    #[track_caller]
    pub(crate) fn try_run(&self, line: &str) -> (ExitStatus, String) {
        self.try_run_as(User::Root, line)
    }

    /// [`try_run`](Self::try_run) as one of the users.
    #[track_caller]
    pub(crate) fn try_run_as(&self, user: User, line: &str) -> (ExitStatus, String) {
        // Into a file of its own: what it leaves running may go on writing.
        let output = format!("/run/output-{}", self.commands.fetch_add(1, Ordering::Relaxed));
        let first = format!("exec </dev/null >{output} 2>&1;");
        let mut process = Process::start(&mut self.line(user, &first, line));
        let status = process.wait_exit_within(TIME);
        (status, fs::read_to_string(self.path(&output)).unwrap_or_default())
    }

    /// Runs a command line that has to succeed, and gives its output.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        let (status, output) = self.try_run(line);
        assert!(status.success(), "{line}: {status}\n{output}");
        output
    }

    /// The processes called `name`, oldest first.
    pub(crate) fn processes(&self, name: &str) -> Vec<u32> {
        proc::descendants_named(self.namespace.pid(), name)
    }

    /// The one supervisor, when all its `workers`, called `app`, are up.
    #[track_caller]
    pub(crate) fn supervisor(&self, workers: usize) -> Supervisor {
        eventually(&format!("a supervisor with {workers} workers"), || {
            let [pid] = self.processes("fcgi-spawn")[..] else { return None };
            let found = proc::descendants_named(pid, "app");
            (found.len() == workers).then_some(Supervisor { pid, workers: found })
        })
    }

    /// Waits until neither a supervisor nor a worker runs.
    #[track_caller]
    pub(crate) fn wait_stopped(&self) {
        eventually("the end of everything", || {
            (self.processes("fcgi-spawn").is_empty() && self.processes("app").is_empty()).then_some(())
        });
    }

    /// Where the application listens.
    pub(crate) fn socket(&self) -> Address {
        Address::Unix(self.path("/run/fcgi-spawn/app.sock"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel ends all processes of the namespace before its first one is gone.
        self.init.signal(Signal::KILL);
        let groups = self.disk.path().join("groups");
        if !groups.exists() {
            return;
        }
        // A group can be removed when the last process of it has been waited for: the one that made the namespace.
        self.namespace.wait_exit();
        let remove = "mount -t cgroup2 cgroup2 \"$0\" && find \"$0/$1\" -depth -type d -exec rmdir {} +";
        let group = format!("fcgi-tests.{}", self.namespace.pid());
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", remove]).arg(groups).arg(group);
        let removed = command.status().is_ok_and(|status| status.success());
        assert!(removed || thread::panicking(), "systemd's control group is left");
    }
}

/// Asks for pages all the time, on a connection each, while `work` goes on: all of them are answered.
#[track_caller]
pub(crate) fn under_requests<T>(socket: &Address, work: impl FnOnce() -> T) -> T {
    /// The client ends even if `work` panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let end = Over(&over);
        let client = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                expect_hello(socket);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let some_more = || {
            let before = answers.load(Ordering::Relaxed);
            eventually("answers", || {
                assert!(!client.is_finished(), "a request failed");
                (answers.load(Ordering::Relaxed) > before).then_some(())
            });
        };
        some_more();
        let result = work();
        some_more();
        drop(end);
        client.join().expect("every request is answered");
        result
    })
}

/// A supervisor and its workers, as they were when somebody looked.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) pid: u32,
    pub(crate) workers: Vec<u32>,
}
