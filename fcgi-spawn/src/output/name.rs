//! The name that we were called by.

use std::sync::OnceLock;

static NAME: OnceLock<String> = OnceLock::new();

/// The first name stays.
pub(crate) fn set(name: &str) {
    let _ = NAME.set(name.into());
}

pub(crate) fn get() -> &'static str {
    NAME.get().map_or(env!("CARGO_PKG_NAME"), String::as_str)
}
