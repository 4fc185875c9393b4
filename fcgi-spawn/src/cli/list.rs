//! All options.

use std::os::fd::RawFd;

use crate::cli::address::Address;
use crate::cli::config::{Config, LogTo, Mode, Program};
use crate::cli::item::{
    Command, Completion, Effect, INHERITED, Ignored, Item, NO_SOCKET_FILE, NOT_ROOT, NOT_ROOT_AS_SPAWN_FCGI, ONCE,
    ONCE_IN_FOREGROUND, Set, Value,
};
use crate::cli::value::{count, ip, keep, number, or_off, permissions, positive, set, signal, size, some, time};

/// A section of the help and the man page.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) items: &'static [Item],
}

/// All options in order.
pub(crate) fn items() -> impl Iterator<Item = &'static Item> {
    SECTIONS.iter().flat_map(|section| section.items)
}

/// An option with a value.
const fn option(letters: &'static str, long: &'static str, value: Value, set: Set) -> Item {
    Item::new(letters, long, Some(value), Effect::Set(set))
}

const fn flag(letters: &'static str, long: &'static str, set: Set) -> Item {
    Item::new(letters, long, None, Effect::Set(set))
}

const fn value(name: &'static str, completion: Completion) -> Value {
    Value { name, completion }
}

const FILE: Value = value("FILE", Completion::File);
const DIR: Value = value("DIR", Completion::Directory);
const USER: Value = value("USER", Completion::User);
const GROUP: Value = value("GROUP", Completion::Group);
const N: Value = value("N", Completion::Nothing);
const TIME: Value = value("TIME", Completion::Nothing);

pub(crate) static SECTIONS: [Section; 7] = [
    Section { title: "The socket", items: SOCKET },
    Section { title: "The program", items: PROGRAM },
    Section { title: "Workers", items: WORKERS },
    Section { title: "Restarts and stops", items: RESTARTS },
    Section { title: "Replacement of workers", items: REPLACEMENT },
    Section { title: "Output and health", items: OUTPUT },
    Section { title: "Commands, each as the first option", items: COMMANDS },
];

const SOCKET: &[Item] = &[
    option("s", "socket", value("PATH", Completion::File), |c, v| set(&mut c.address, Address::unix(v)))
        .help("unix socket to listen on; @NAME for an abstract one")
        .man(
            "PATH has at most 107 bytes; `./@NAME` is a file. The socket has its final mode and owner from the first \
             moment. A socket that no process listens on is replaced; one in use, and any other file, is refused. \
             Of two launchers that start at the same time, one is refused. After a stop another launcher can bind PATH at once, \
             and an abstract name when the last worker has ended.",
        ),
    option("p", "port", value("PORT", Completion::Nothing), |c, v| c.address.set_port(number(v, 1..=u16::MAX)?))
        .help("TCP port to listen on, 1 to 65535"),
    option("a", "address", value("ADDR", Completion::Nothing), |c, v| c.address.set_ip(ip(v)?))
        .help("IPv4 or IPv6 address to listen on with -p (default 0.0.0.0)")
        .man("A literal without brackets and zone. `::` is every IPv6 and every IPv4 address.")
        .ignored(&[Ignored { when: |s| s.has("socket"), why: "with -s" }, INHERITED]),
    option("b", "backlog", N, |c, v| some(&mut c.backlog, count(v)))
        .help("connections that may wait to be accepted (default 1024)")
        .man("A warning is logged if the kernel allows fewer, by `/proc/sys/net/core/somaxconn`.")
        .ignored(&[INHERITED]),
    option("M", "mode", value("MODE", Completion::Nothing), |c, v| some(&mut c.socket_mode, permissions(v)))
        .help("octal mode of the unix socket (default 0660 less the umask)")
        .man("The umask does not change a mode that is given.")
        .ignored(&[NO_SOCKET_FILE]),
    option("U", "socket-user", USER, |c, v| keep(&mut c.socket_user, v))
        .help("owner of the unix socket (default: the user of -u)")
        .man("A name or a number.")
        .ignored(&[NOT_ROOT, NO_SOCKET_FILE]),
    option("G", "socket-group", GROUP, |c, v| keep(&mut c.socket_group, v))
        .help("group of the unix socket (default: that of -U or -g)")
        .man("A name or a number. The default is the primary group of -U, or the group of -g.")
        .ignored(&[NOT_ROOT, NO_SOCKET_FILE]),
    flag("", "mkdir", |c, _| set(&mut c.mkdir, Ok(true)))
        .help("make missing directories of socket, pid file and status page")
        .man("The directory `/run` may be empty after a boot. A supervisor removes at its end what it has made.")
        .ignored(&[Ignored {
            when: |s| {
                let has_pid_file = s.has("pid-file") && !(ONCE_IN_FOREGROUND.when)(s);
                !s.has_socket_file && !has_pid_file && (!s.has("status") || (ONCE.when)(s))
            },
            why: "without the path of a unix socket, a pid file or a status page",
        }]),
];

const PROGRAM: &[Item] = &[
    option("f", "command", value("CMD", Completion::Command), |c, v| set(&mut c.program, Program::shell(v)))
        .help("run the line CMD by /bin/sh instead of a program")
        .man("The shell becomes the last command of CMD. Quotes, variables and a search in `PATH` are the shell's.")
        .ignored(&[Ignored { when: |s| s.has_program, why: "with a program" }]),
    option("d", "directory", DIR, |c, v| keep(&mut c.directory, v)).help("working directory of the program").man(
        "It is inside of the directory of -c. The default is the current directory, or the root directory with -c. \
         Relative paths of other options begin in the directory where the launcher was started.",
    ),
    option("C", "php-children", N, |c, v| some(&mut c.php_children, count(v)))
        .help("number of children of php-cgi: sets PHP_FCGI_CHILDREN")
        .man("The default is the caller's variable."),
    option("u", "user", USER, |c, v| keep(&mut c.user, v))
        .help("user to run the program as, by name or number")
        .man(
            "The program has all groups of the user, no capabilities and, unless the launcher is called spawn-fcgi, \
             the user's `HOME`, `USER` and `LOGNAME`. A number without an entry in the user database needs -g, and \
             those variables are not set. Root is refused.",
        )
        .ignored(&[NOT_ROOT_AS_SPAWN_FCGI]),
    option("g", "group", GROUP, |c, v| keep(&mut c.group, v))
        .help("group to run the program as (default: that of -u)")
        .man("A name or a number. Without -u all supplementary groups are removed. Root's group is refused.")
        .ignored(&[NOT_ROOT_AS_SPAWN_FCGI]),
    option("c", "chroot", DIR, |c, v| keep(&mut c.chroot, v))
        .help("root directory of the program")
        .man("The unix socket is made inside; the pid file, users and groups are looked up outside.")
        .ignored(&[NOT_ROOT_AS_SPAWN_FCGI]),
    flag("S", "socket-outside", |c, _| set(&mut c.socket_outside, Ok(true)))
        .help("make the unix socket outside of the directory of -c")
        .ignored(&[NOT_ROOT_AS_SPAWN_FCGI, Ignored { when: |s| !s.has("chroot"), why: "without -c" }, NO_SOCKET_FILE]),
];

const WORKERS: &[Item] = &[
    option("F", "workers", N, |c, v| set(&mut c.workers, number(v, 1..=Config::MAX_WORKERS)))
        .help("number of workers, 1 to 1024 (default 1)")
        .man(
            "The supervisor needs up to four descriptors for each, and raises its limit (`ulimit -n`) to the hard one, \
             8192 at most; workers keep the limit that it was started with.",
        )
        .ignored(&[ONCE_IN_FOREGROUND]),
    option("P", "pid-file", FILE, |c, v| keep(&mut c.pid_file, v))
        .help("write the supervisor's pid to FILE (--once: the workers')")
        .man(
            "The pids of workers are one a line. There is no newline at the end. FILE has mode 0644 less the umask, \
             is written whole or not at all, and replaces only a regular file.",
        )
        .ignored(&[ONCE_IN_FOREGROUND]),
    flag("n", "foreground", |c, _| set(&mut c.foreground, Ok(true)))
        .help("stay in the foreground; with --once, become the program")
        .man("Workers keep stdout and stderr, or have pipes to a supervisor. For runit, s6, systemd or a terminal."),
    flag("", "once", |c, _| set(&mut c.mode, Ok(Mode::Once)))
        .help("start the workers and exit (default as spawn-fcgi)")
        .man("All options for a supervisor are ignored."),
    flag("", "supervise", |c, _| set(&mut c.mode, Ok(Mode::Supervise)))
        .help("start the workers and keep them running (default otherwise)"),
];

const RESTARTS: &[Item] = &[
    option("", "min-server-life", TIME, |c, v| set(&mut c.min_server_life, time(v).map(Option::unwrap_or_default)))
        .help("time within which a failure is an early exit (default 30s)")
        .man(
            "A failure is an exit with another status than 0, or by a signal. After a longer run the worker is \
             restarted at once, and the failure count is reset.",
        )
        .ignored(&[ONCE]),
    option("", "restart-delay", TIME, |c, v| set(&mut c.restart_delay, time(v).map(Option::unwrap_or_default)))
        .help("delay before the restart after an early exit (default 5s)")
        .ignored(&[ONCE]),
    option("", "backoff-after", N, |c, v| set(&mut c.backoff_after, or_off(v, count)))
        .help("early exits until the restart delay doubles (default 3)")
        .man(
            "They count in a row. The delay doubles with each that follows, and up to a tenth is added at random. By default the delays are 5, \
             5, 5, 10, 20 and so on up to 600 seconds. With `off` they never double.",
        )
        .ignored(&[ONCE]),
    option("", "max-backoff", TIME, |c, v| set(&mut c.max_backoff, time(v)))
        .help("upper limit of the doubled restart delay (default 600s)")
        .ignored(&[ONCE]),
    option("", "give-up", N, |c, v| set(&mut c.give_up, or_off(v, count).map(positive)))
        .help("early exits in a row that stop everything (default off)")
        .man("Those of one worker count. All workers are stopped, and the exit status is 1.")
        .ignored(&[ONCE]),
    option("", "stop-signal", value("SIGNAL", Completion::Nothing), |c, v| set(&mut c.stop_signal, signal(v)))
        .help("signal that asks a worker to exit (default TERM)")
        .man("A name or a number.")
        .ignored(&[ONCE]),
    option("", "stop-timeout", TIME, |c, v| set(&mut c.stop_timeout, time(v)))
        .help("time a worker has to exit before SIGKILL (default 10s)")
        .man(
            "It begins with the stop signal, which goes to the worker alone. SIGKILL goes to its process group; with \
             `off` it is never sent.",
        )
        .ignored(&[ONCE]),
    option("", "drain", TIME, |c, v| set(&mut c.drain, time(v).map(Option::unwrap_or_default)))
        .help("time to wait for a moment without clients first (default 5s)")
        .man(
            "A worker that is to exit is asked when no connection is accepted in it, and after this time at the latest; \
             when all is stopped, after half of --stop-timeout at the latest. A worker that has reported that it is up \
             is asked at once, as it answers its clients before it exits. Clients are found in /proc; where that does \
             not show them, and with `off`, workers are asked at once. Connections that a web server keeps for later \
             requests are clients. At SIGTERM flup and fcgiwrap accept one more connection, and drop it: with \
             --stop-signal USR1 they lose none.",
        )
        .ignored(&[ONCE]),
];

const REPLACEMENT: &[Item] = &[
    option("", "ready-after", TIME, |c, v| set(&mut c.ready_after, time(v).map(Option::unwrap_or_default).map(Some)))
        .help("time until a process that reports nothing is up")
        .man(
            "The default is 250ms, and 2s for a process that is to replace another. It begins when the process executes \
             the program. A program that reports that it is up, as those made with fcgi-app do, is up then; one that is to replace a \
             process that did so has to report as well, within 60 seconds or TIME if that is longer, or the old one stays.",
        )
        .ignored(&[ONCE]),
    option("", "canary", TIME, |c, v| set(&mut c.canary, time(v).map(Option::unwrap_or_default)))
        .help("time to watch the first new worker of a reload (default 5s)")
        .man(
            "The worker that it replaces serves beside it. The other workers are replaced if it has not failed by then. \
             A process started since the reload began that fails ends the reload, and what has not been replaced yet \
             stays. An exit 0 of a worker that was up is no failure: another is watched, three in all. With `off` the \
             first new worker has to be up only. With --max-age, --max-rss and --heartbeat a new worker is watched if \
             the program's file is not the one with which the old worker was started.",
        )
        .ignored(&[ONCE]),
    flag("", "auto-update", |c, _| set(&mut c.auto_update, Ok(true)))
        .help("replace all workers when the program's file changes")
        .man(
            "Its time, size and inode are looked at every 2 seconds, and have to be the same twice. Of an \
             interpreter, as in `python3 app.py`, the script is looked at.",
        )
        .ignored(&[ONCE]),
    option("", "watch", FILE, |c, v| {
        c.watch.push(v.into());
        Ok(())
    })
    .help("replace all workers when FILE changes (repeatable)")
    .repeatable()
    .ignored(&[ONCE]),
    option("", "max-age", TIME, |c, v| set(&mut c.max_age, time(v).map(positive)))
        .help("age at which a worker is replaced (default off)")
        .man("Up to a tenth of TIME is subtracted at random.")
        .ignored(&[ONCE]),
    option("", "max-rss", value("SIZE", Completion::Nothing), |c, v| {
        set(&mut c.max_rss, or_off(v, size).map(positive))
    })
    .help("memory use at which a worker is replaced (default off)")
    .man(
        "SIZE is a number of bytes, or of KiB, MiB or GiB with `K`, `M` or `G` behind; up to a tenth of it is \
         subtracted at random. Memory is looked at 2 seconds after the first start, then every 10 seconds, without \
         that of the worker's own children.",
    )
    .ignored(&[ONCE]),
    flag("", "on-demand", |c, _| set(&mut c.on_demand, Ok(true)))
        .help("start workers only when connections wait")
        .man("Another worker is started whenever a connection still waits after a second, up to the number of -F.")
        .ignored(&[ONCE]),
    option("", "idle", TIME, |c, v| set(&mut c.idle, time(v)))
        .help("idle time before --on-demand stops a worker (default 10m)")
        .man(
            "An idle worker has no connection, and no thread of its session has run; with --heartbeat its own report \
             counts instead. A program that wakes by itself is never idle, which is reported once.",
        )
        .ignored(&[ONCE, Ignored { when: |s| !s.has("on-demand"), why: "without --on-demand" }]),
];

const OUTPUT: &[Item] = &[
    flag("", "json", |_, _| Ok(()))
        .help("print the report of --check as JSON")
        .man(
            "One object with `status` (the exit status) and `message`, and, if the page tells how the workers are now, with \
             `supervisor`, `age`, `listener`, `workers`, `up`, `busy`, `waiting`, `reload` and `processes`. Times are in \
             seconds, memory in bytes; what is not known is `null`.",
        )
        .ignored(&[ONCE, Ignored { when: |_| true, why: "without --check" }]),
    option("", "log", FILE, |c, v| some(&mut c.log, Ok(LogTo::new(v))))
        .help("append all output to FILE, or send it to: syslog, stderr")
        .man(
            "Output is what workers write to stdout and stderr and what the launcher reports, line by line. Each line \
             has the time in UTC and, if it is a worker's, its number and pid:\n\n    \
             2026-11-22T17:00:45Z worker 2 (pid 4711): out of memory\n\n\
             FILE is made with mode 0640, and may be behind a symbolic link, a named pipe or a device. `/dev/stdout`, \
             `/dev/stderr`, `/dev/fd/N` and `/proc/self/fd/N` are the descriptors that the launcher was started with. \
             `stderr` is the stderr that the launcher was started with, without the time. `syslog` is the daemon behind `/dev/log`, and \
             `syslog:PATH` one behind another socket, where stderr has priority warning and stdout info. `./stderr` \
             and `./syslog` are files.\n\n\
             Control characters other than tab are shown as `\\x1b`, one for each byte, so that a worker can neither \
             forge a line nor drive the terminal on which the log is read. A line is cut after 4000 bytes and reports how many were cut. A line without an end is held until its \
             end comes, or until its last writer is gone: at most 8 kB for each of the two streams of a worker. Of the \
             streams that ended workers have left open, 64 are kept.\n\n\
             A log that is slow or full does not stop the launcher or a worker. What it does not take waits in 64 KiB \
             of memory; what does not fit is lost, and the number of lost lines is reported as soon as there is room. \
             Only a regular file on a slow disk is waited for. A syslog daemon has to be there at the start; one that goes away \
             later, or does not accept, is tried again every second. A worker that writes faster than the launcher \
             reads waits for the launcher, not for the log. Of what a worker has left unread at its end, up to 2000 lines come before the \
             report of its end, the rest later. A file with a second link is refused, at the start and when \
             the log is reopened.\n\n\
             Every error that ends the launcher after the log was opened is in the log and on stderr.\n\n\
             Without the option and without -n, what workers write is lost, but for the last line of a worker that makes a \
             reload fail. With -n, what they write to stderr is on the launcher's stderr as with `--log stderr`, and they \
             have the launcher's stdout; with -u or -g, if stdout is a terminal, or if stderr cannot be opened anew, what they \
             write to stdout is on its stderr, too.",
        )
        .ignored(&[ONCE]),
    option("", "status", FILE, |c, v| keep(&mut c.status, v))
        .help("keep a status page of the workers in FILE")
        .man(
            "It is written when something changes and every 10 seconds, always whole, with mode 0644, and removed at \
             the end. Three lines begin with `#`. The first one has the supervisor's `pid`, the number of `workers` and of those \
             that are `up`, of workers that are `busy` (they have accepted a connection) and of connections that are `waiting`, the \
             `listener` (`up`, `down` if a worker has shut it down, or `gone` without the socket's file), `lock` (whether the \
             supervisor has locked FILE.lock as long as it lives), and when it was `written`, also by the monotonic `clock` in \
             seconds. The second one has the last reload: its `number`, its `result` (`none`, `running`, `done` or `failed`), \
             `until` when it may take by that clock, and the `reason` of a failure. The third one names the words of those that follow, \
             one line for each worker: its number; its pid; its \
             state (`starting`, `running`, `reloading`, `waiting`, `idle`, `stopping` or `stopped`); its age; how \
             often its process has ended by itself; how the last one did (`exit:N`, `signal:N` or `not-started`); the time \
             until the next start; its memory. Missing values are shown as `-`.",
        )
        .ignored(&[ONCE]),
    option("", "ready-fd", N, |c, v| some(&mut c.ready_fd, number(v, 3..=RawFd::MAX)))
        .help("write a line to descriptor N when all workers are up")
        .man("N is 3 or above. It gets a newline and is closed, as s6 and others expect.")
        .ignored(&[ONCE]),
    option("", "heartbeat", TIME, |c, v| match time(v)? {
        Some(limit) if limit < Config::MIN_HEARTBEAT => Err("less than 3s, with one heartbeat a second".into()),
        limit => set(&mut c.heartbeat, Ok(limit)),
    })
    .help("replace a worker without heartbeat for TIME (default off)")
    .man(
        "TIME is at least 3s. A heartbeat is a byte a second, written to the descriptor that the variable \
         `FCGI_SPAWN_REPORT` names: `+` while there are connections, and `-` before a sleep, after which none is \
         expected. Programs made with fcgi-app send it, and stop when a handler takes longer than \
         `Limits::handler_time`. A worker that never sent one is not replaced. The new worker is up before the old \
         one is stopped, which is killed after --stop-timeout.",
    )
    .ignored(&[ONCE]),
];

const COMMANDS: &[Item] = &[
    Item::new("", "check", None, Effect::Command(Command::Check))
        .help("report on --status FILE; exit 0: all up, 1: some, 2: none")
        .man(
            "For a monitor, also with all other options of the supervisor behind it. The status is 2 as well if there \
             is no such file, its supervisor has ended, or it has not been written for 30 seconds. A worker that waits \
             for demand counts as up. A reload that failed is reported and changes no status: the old workers serve.",
        ),
    Item::new("", "reload", None, Effect::Command(Command::Reload))
        .help("reload by --status FILE or -P FILE; exit 0 done, 1 failed")
        .man(
            "Sends SIGHUP to the supervisor of that status page, or of that pid file if the supervisor has a status page as \
             well, and waits until all workers are replaced, or until it is clear why not, which is printed. For \
             init scripts and deployments.",
        ),
    Item::new("", "completions", Some(value("SHELL", Completion::Shell)), Effect::Command(Command::Completions))
        .help("print the completions for bash, zsh or fish"),
    Item::new("v", "version", None, Effect::Command(Command::Version))
        .help("print the version")
        .man("The letter may also stand behind other options, as with the original spawn-fcgi."),
    Item::new("h?", "help", None, Effect::Command(Command::Help))
        .help("print this help")
        .man("The letters may also stand behind other options."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_letter_or_name_is_given_twice() {
        let letters: String = items().map(|item| item.letters).collect();
        for (at, letter) in letters.char_indices() {
            assert_eq!(letters.find(letter), Some(at), "-{letter}");
        }
        for (at, item) in items().enumerate() {
            assert_eq!(items().position(|other| other.long == item.long), Some(at));
        }
    }

    #[test]
    fn defaults_are_what_the_help_names() {
        let defaults = Config::new(Address::Tcp(([0, 0, 0, 0], 0).into()), Vec::new());
        let mut seen = Vec::new();
        for item in items().filter(|item| item.value.is_some()) {
            let Effect::Set(set) = item.effect else { continue };
            let Some((_, rest)) = item.help.split_once("(default ") else { continue };
            let value = rest.split([' ', ')']).next().unwrap_or_default();
            let mut config = defaults.clone();
            assert_eq!(set(&mut config, value.as_ref()), Ok(()), "{}", item.long);
            if config == defaults {
                seen.push(item.long);
            } else {
                // They depend on the kernel, and on the umask.
                assert!(["backlog", "mode"].contains(&item.long), "{}", item.help);
            }
        }
        assert_eq!(seen.len(), 15, "{seen:?}");
    }

    /// The man page says so once for a section.
    #[test]
    fn once_ignores_whole_sections() {
        for section in &SECTIONS {
            let ignored = section.items.iter().filter(|item| item.is_ignored(&ONCE)).count();
            assert!(ignored == 0 || ignored == section.items.len(), "{}", section.title);
        }
    }
}
