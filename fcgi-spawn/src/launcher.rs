//! From the command line to an exit status.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use log::LevelFilter;

use crate::cli::{self, Caller, Request};
use crate::daemon::{self, Daemon, Outcome};
use crate::files::check;
use crate::handover::{self, Handover, Task};
use crate::output::logger;
use crate::socket::inherited::{self, Given};
use crate::sys::{self, Pid};
use crate::takeover::upgrade::Upgrade;
use crate::{Config, Error, Mode, Supervisor, once, reload};

/// The whole program `fcgi-spawn`, given its arguments with the name it was called by in front.
///
/// It prints what there is to say and returns the exit status. It takes the process over: call it
/// first thing in `main`, before any thread is started or file opened. Without `-n` it forks, and
/// of the two processes only the one that was started returns from here.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let name = name(args.first());
    let status = or_say(&name, launch(&name, &args));
    ExitCode::from(status)
}

/// The name in front of each message: what we were called, without the path.
fn name(called: Option<&OsString>) -> String {
    match called.and_then(|called| Path::new(called).file_name()) {
        Some(name) => name.to_string_lossy().into_owned(),
        None => env!("CARGO_PKG_NAME").into(),
    }
}

/// The exit status of what was done, or of why not, which is said.
fn or_say(name: &str, done: Result<u8, Error>) -> u8 {
    done.unwrap_or_else(|error| {
        logger::report_fatal(name, &error);
        error.exit_status()
    })
}

fn launch(name: &str, args: &[OsString]) -> Result<u8, Error> {
    let typed = args.get(1..).unwrap_or_default();
    if typed.is_empty() {
        say(&cli::help(name));
        return Ok(Error::SET_UP);
    }
    if sys::is_set_uid() && !sys::is_root() {
        return Err(Error::new("this program is not made to be installed set-uid or set-gid"));
    }
    let received = handover::received()?;
    let inherited = || match &received {
        Some((_, Handover { listener: Some(fd), .. })) => Ok(Some(*fd)),
        _ => inherited::find(),
    };
    let caller = Caller { name, is_root: sys::is_root(), inherited: &inherited };
    let request = match &received {
        Some((Task::TakeOver, _)) => patiently(|| cli::read(&caller, typed))?,
        _ => cli::read(&caller, typed)?,
    };
    let (mut config, ignored) = match request {
        Request::Print(text) => {
            say(&text);
            return Ok(0);
        }
        Request::Check { page, is_json } => {
            let check = check::check(Path::new(&page), is_json);
            say(&check.text);
            return Ok(check.status);
        }
        Request::Reload { page, pid_file } => {
            reload::reload(page.as_deref().map(Path::new), pid_file.as_deref().map(Path::new))?;
            say("reloaded\n");
            return Ok(0);
        }
        Request::Start(config, ignored) => (*config, ignored),
    };
    // In a container the first process is all there is: its end is that of the container.
    config.foreground |= config.mode == Mode::Supervise && process::id() == 1;
    // In the background what is merely going on is soon read by no one.
    let is_read = config.mode == Mode::Supervise && (config.foreground || config.log.is_some());
    logger::install(name, if is_read { LevelFilter::Info } else { LevelFilter::Warn });
    for line in ignored {
        log::warn!("{line}");
    }
    match config.mode {
        Mode::Once => once(name, &config),
        Mode::Supervise => match received {
            Some((Task::Prove, state)) => {
                Supervisor::prove(&config, &state)?;
                say(handover::PROOF);
                Ok(0)
            }
            Some((Task::TakeOver, state)) => Supervisor::adopt(&config, &state, Upgrade::new(args.into())).run(),
            None => {
                let upgrade = Upgrade::new(args.into());
                match config.foreground {
                    true => Supervisor::start_with(&config, Given::take(&config)?, Some(upgrade))?.run(),
                    false => supervise(name, &config, upgrade),
                }
            }
        },
    }
}

/// Something that worked a moment ago, in the program that was replaced: a refusal of the system may pass.
fn patiently<T>(make: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 0..TRIES {
        match make() {
            Ok(made) => return Ok(made),
            Err(error) => log::error!("{error}; trying again"),
        }
        thread::sleep(PAUSE);
    }
    make()
}

fn once(name: &str, config: &Config) -> Result<u8, Error> {
    let started = once::run(config)?;
    for pid in started.pids {
        say(&success(name, pid));
    }
    Ok(started.status)
}

/// In the background.
fn supervise(name: &str, config: &Config, upgrade: Upgrade) -> Result<u8, Error> {
    let given = Given::take(config)?;
    match daemon::fork(&given)? {
        Daemon::Starter(starter) => match starter.wait()? {
            Outcome::Up(pid) => {
                say(&success(name, pid));
                Ok(0)
            }
            Outcome::Failed(status) => Ok(status),
        },
        Daemon::Background(background) => {
            let supervised = || {
                let supervisor = Supervisor::start_with(config, given, Some(upgrade))?;
                if supervisor.is_up() {
                    background.up()?;
                }
                supervisor.run()
            };
            process::exit(or_say(name, supervised()).into());
        }
    }
}

fn success(name: &str, pid: Pid) -> String {
    format!("{name}: child spawned successfully: PID: {pid}\n")
}

/// To stdout. A reader that is gone is no reason to fail.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
