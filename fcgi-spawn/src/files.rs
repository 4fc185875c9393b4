//! Files that the launcher makes, and removes at its end.

pub(crate) mod atomic_file;
pub(crate) mod check;
pub(crate) mod directories;
mod json;
pub(crate) mod lock;
pub(crate) mod made;
pub(crate) mod page;
pub(crate) mod page_lock;
pub(crate) mod pid_file;
pub(crate) mod place;
#[cfg(test)]
pub(crate) mod scratch;
pub(crate) mod status_file;
mod walk;
