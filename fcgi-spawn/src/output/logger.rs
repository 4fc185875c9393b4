//! What the `log` macros say: on stderr, with the program's name in front as in every message of a Unix program, until
//! there is a log for it.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Metadata, Record};

use crate::output::{Entry, From, Log, Priority};

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    name: String,
    log: Mutex<Option<Log>>,
}

/// Installs the logger, unless the program that runs us has installed its own.
pub(crate) fn install(name: &str, level: LevelFilter) {
    let logger = LOGGER.get_or_init(|| Logger { name: name.into(), log: Mutex::new(None) });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

/// Lets all that is said from here on go to this log, if the logger is ours.
pub(crate) fn direct_to(log: &Log) {
    if let Some(logger) = LOGGER.get() {
        *logger.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log.clone());
    }
}

/// What we are called.
pub(crate) fn name() -> &'static str {
    LOGGER.get().map_or(env!("CARGO_PKG_NAME"), |logger| &logger.name)
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
        let entry = Entry { priority, from: From::Us(&self.name), text: text.as_bytes(), cut: 0 };
        match &*self.log.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(log) => log.write(&entry),
            None => drop(io::stderr().write_all(&entry.plain())),
        }
    }

    fn flush(&self) {}
}
