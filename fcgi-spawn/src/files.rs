//! Files that the launcher makes, and removes at its end.

pub(crate) mod folders;
pub(crate) mod lock;
pub(crate) mod made;
pub(crate) mod pid_file;
pub(crate) mod status;
