//! The listening socket.

mod backlog;
pub(crate) mod holder;
pub(crate) mod inherited;
pub(crate) mod listener;
mod refused;
pub(crate) mod socket_file;
