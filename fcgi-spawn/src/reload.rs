//! `--reload`: has a supervisor reload, and waits for the result, which the supervisor writes into its status page.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cli;
use crate::error::Reason;
use crate::files::check;
use crate::files::page::{self, Header, Reload, ReloadWord};
use crate::files::page_lock::PageLock;
use crate::files::place::Place;
use crate::sys::{self, Pid};
use crate::{Error, error};

/// Between two looks at the page.
const LOOK: Duration = Duration::from_millis(50);

/// How long a supervisor may take to begin.
const BEGIN: Duration = Duration::from_secs(30);

/// How much longer a reload may take than the supervisor has promised.
const MORE: Duration = Duration::from_secs(10);

/// The exit status without a supervisor.
const NO_SUPERVISOR: u8 = 2;

/// The exit status of a reload that failed.
const FAILED: u8 = 1;

fn none(why: impl Into<String>) -> Error {
    Error::new(why).with_exit_status(NO_SUPERVISOR)
}

fn failed(why: impl Into<String>) -> Error {
    Error::new(why).with_exit_status(FAILED)
}

/// Has the supervisor of this page, or the one in this pid file, replace its workers. Returns when they are replaced.
///
/// # Errors
///
/// With exit status 1 the reload failed, and with 2 there is no such supervisor.
pub(crate) fn reload(page: Option<&Path>, pid_file: Option<&Path>) -> Result<(), Error> {
    let wanted = pid_file.map(pid_in).transpose()?;
    let page = match (page, wanted) {
        (Some(page), _) => page.to_owned(),
        (None, Some(pid)) => page_of(pid, pid_file.unwrap_or(Path::new("")))?,
        (None, None) => return Err(none("no status page and no pid file")),
    };
    let (before, owner) = look(&page)?;
    if let Some(pid) = wanted.filter(|pid| *pid != before.pid) {
        return Err(none(format!("'{}' is of pid {}, not of pid {pid}", page.display(), before.pid)));
    }
    if !writes(&before, owner, &page) {
        // A worker that may write the directory would have a signal sent to any process.
        return Err(none(format!("'{}' was not written by pid {} of this namespace", page.display(), before.pid)));
    }
    let there_is_none = || none(format!("there is no pid {} here", before.pid));
    let pid = Pid::of_supervisor(before.pid).ok_or_else(there_is_none)?;
    sys::signal_process(pid, libc::SIGHUP).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => there_is_none(),
        _ => failed(format!("cannot send SIGHUP to pid {pid}: {}", Reason(&error))),
    })?;
    let mut until = sys::monotonic() + BEGIN;
    let (mut has_begun, mut last) = (false, before.reload.result);
    loop {
        let ended = |error: Error| none(format!("the supervisor (pid {pid}) ends before the reload is over; {error}"));
        let now = look(&page).map_err(ended)?.0.reload;
        // A successor that has taken over meanwhile counts anew.
        let is_another = now.result == ReloadWord::Running && last != ReloadWord::Running;
        has_begun |= now.number != before.reload.number || is_another;
        last = now.result;
        match now {
            Reload { result: ReloadWord::Done, .. } if has_begun => return Ok(()),
            Reload { result: ReloadWord::Failed, reason, .. } if has_begun => {
                return Err(failed(format!("reload failed: {}", reason.unwrap_or_default())));
            }
            // Another reload begins anew.
            Reload { until: Some(end), .. } if has_begun => until = end + MORE,
            _ => {}
        }
        if sys::monotonic() > until {
            let why = if has_begun {
                "is not over in time: a new worker does not report that it is up"
            } else {
                "does not begin"
            };
            return Err(failed(format!("the reload by pid {} {why}", before.pid)));
        }
        thread::sleep(LOOK);
    }
}

/// What the page of a live supervisor says, and the user whose file it is.
fn look(page: &Path) -> Result<(Header, u32), Error> {
    let unknown = |why: &str| none(format!("'{}': {why}", page.display()));
    let (text, owner) = check::read(page).map_err(|error| unknown(&Reason(&error).to_string()))?;
    let header = page::parse(&text).map_err(unknown)?.header;
    check::why_unknown(page, &header, sys::monotonic()).map_or(Ok((header, owner)), |why| Err(unknown(&why)))
}

/// Whether the process that a page names has its lock, or else is of the user whose page it is.
fn writes(header: &Header, owner: u32, page: &Path) -> bool {
    let process = || fs::metadata(format!("/proc/{}", header.pid)).map(|process| process.uid());
    match header.is_locked {
        true => Place::of(page).and_then(|page| PageLock::holder(&page)).is_ok_and(|holder| holder == Some(header.pid)),
        false => process().is_ok_and(|process| process == owner),
    }
}

fn pid_in(path: &Path) -> Result<u32, Error> {
    let text = fs::read_to_string(path).map_err(|error| Error::io("read pid file", path, &error));
    let text = text.map_err(|error| error.with_exit_status(NO_SUPERVISOR))?;
    text.trim().parse().map_err(|_| none(format!("pid file {}: not one number", error::Quoted(path.as_os_str()))))
}

/// The status page of the supervisor that has written this pid file, from its command line.
fn page_of(pid: u32, pid_file: &Path) -> Result<PathBuf, Error> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline"));
    let arguments = arguments.map_err(|error| none(format!("cannot look at pid {pid}: {}", Reason(&error))))?;
    let words = arguments.split(|byte| *byte == 0).skip(1).map(|word| OsString::from_vec(word.to_vec()));
    let (page, its_pid_file) = cli::files_of(words);
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    // Another process may have the number of one that was killed.
    if its_pid_file.is_none_or(|path| identity(&directory.join(path)) != identity(pid_file)) {
        let file = error::Quoted(pid_file.as_os_str());
        return Err(none(format!(
            "pid {pid} is no supervisor with the pid file {file}: it has ended without removing it"
        )));
    }
    let page = page.ok_or_else(|| {
        failed(format!(
            "pid {pid} writes no status page, which has the result of a reload: start it with --status FILE"
        ))
    })?;
    Ok(directory.join(page))
}
