//! The start of a process, and what is known of it while it runs.

pub(crate) mod candidates;
pub(crate) mod channel;
pub(crate) mod child;
pub(crate) mod clients;
pub(crate) mod connections;
pub(crate) mod identity;
pub(crate) mod orphans;
pub(crate) mod privileges;
pub(crate) mod program;
pub(crate) mod root;
pub(crate) mod usage;
pub(crate) mod watch;
