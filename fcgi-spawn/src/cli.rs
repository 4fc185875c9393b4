//! The command line: what may be typed, and what is meant by it.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod duration;
pub(crate) mod options;
pub(crate) mod table;
