//! The listening socket.

mod backlog;
mod bind_error;
pub(crate) mod holder;
pub(crate) mod inherited;
pub(crate) mod listener;
pub(crate) mod socket_file;
