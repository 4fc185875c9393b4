//! Log lines on stderr, with the program's name in front as in every message of a Unix program.

use std::io::Write;

use env_logger::{Builder, Target};
use log::LevelFilter;

/// Installs the logger, unless the program that runs us has installed its own.
pub(crate) fn install(name: &str, level: LevelFilter) {
    let name = name.to_owned();
    let _ = Builder::new()
        .filter_level(level)
        .target(Target::Stderr)
        .format(move |line, record| writeln!(line, "{name}: {}", record.args()))
        .try_init();
}
