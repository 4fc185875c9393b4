//! What the `log` macros report: on stderr, with the program's name in front as in every message of a Unix program, until
//! there is a log for it.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use log::{Level, LevelFilter, Metadata, Record};

use crate::Error;
use crate::output::entry::{Entry, From, Priority};
use crate::output::log::Log;
use crate::output::name;
use crate::output::stream::Stream;

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    log: Mutex<Option<Log>>,
}

/// Installs the logger, unless the program that runs us has installed its own.
pub(crate) fn install(name: &str, level: LevelFilter) {
    name::set(name);
    let logger = LOGGER.get_or_init(|| Logger { log: Mutex::new(None) });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

/// Writes all that is reported from here on to this log, if the logger is ours.
pub(crate) fn direct_to(log: &Log) {
    if let Some(logger) = LOGGER.get() {
        *logger.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log.clone());
    }
}

/// Reports what ends the program: on stderr, and in the log if that is another place.
pub(crate) fn report_fatal(name: &str, error: &Error) {
    let text = error.to_string();
    let entry = Entry { priority: Priority::Error, from: From::Us(name), text: text.as_bytes(), cut: 0 };
    let log = LOGGER.get().and_then(Logger::current);
    if let Some(log) = &log {
        log.write(&entry);
        log.finish();
    }
    if !log.is_some_and(|log| log.is_stderr()) {
        to_stderr(&entry);
    }
}

/// Writes a line to stderr while there is no log. A stderr that is full is waited for once, for a second.
fn to_stderr(entry: &Entry<'_>) {
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    let time = if IS_STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { Duration::from_secs(1) };
    // Opened for each line: going to the background closes it.
    let line = entry.plain();
    let written = Stream::stderr().and_then(|mut stderr| stderr.write_within(&line, time));
    let written = written.or_else(|error| match error.kind() {
        ErrorKind::WouldBlock => Err(error),
        // It may be the only line there is.
        _ => Stream::write_to_stderr_as_it_is(&line),
    });
    IS_STUCK.store(written.is_err(), Ordering::Relaxed);
}

impl Logger {
    /// The log to write to, once there is one.
    fn current(&self) -> Option<Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let priority = match record.level() {
            Level::Error => Priority::Error,
            Level::Warn => Priority::Warning,
            Level::Info => Priority::Info,
            Level::Debug | Level::Trace => Priority::Debug,
        };
        let entry = Entry { priority, from: From::Us(name::get()), text: text.as_bytes(), cut: 0 };
        match self.current() {
            Some(log) => log.write(&entry),
            None => to_stderr(&entry),
        }
    }

    fn flush(&self) {}
}
