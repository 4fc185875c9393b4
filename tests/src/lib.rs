//! The harness of the black-box tests: it starts the built programs and real web servers, talks to them
//! over literal bytes and HTTP, and leaves nothing behind.
//!
//! # Rules every test follows
//!
//! * Nothing sleeps to let things settle. [`eventually`] looks until a loud deadline.
//! * Every process is a [`Process`] or a [`Stray`]: it ends, by its pid, when the test ends, also by a panic.
//! * Every file lives in a [`temp_dir`], every TCP port comes from [`free_port`].
//! * A test that cannot run here says so with [`skip!`], and `tests/run` counts it.
//!
//! # Variables
//!
//! `tests/run` sets them; a test binary started by hand needs none, after `cargo build --workspace --bins`.
//!
//! | variable | meaning |
//! |---|---|
//! | `FCGI_TEST_BIN_HELLO`, ... | the program to use as `hello`, ...: a test can be aimed at another implementation |
//! | `FCGI_TEST_BIN_DIR` | the folder of all other programs |
//! | `FCGI_TEST_REPOSITORY` | where README.md and examples/ are read from |
//! | `FCGI_TEST_FLUP` | a Python environment with flup in it |
//! | `FCGI_TEST_DEBIAN` | the folder of a minimal Debian: tests/debian-root |
//! | `FCGI_TEST_TABLE` | `write`: what clients see is written into the table of examples/servers/README.md |
//! | `FCGI_TEST_HOSTILE_SECONDS` | how long the worker of suite/hostile.rs attacks, with the limits of SECURITY.md |
//! | `FCGI_TEST_SKIPS` | the file to which a test that does not run appends why |
//! | `FCGI_TEST_STATIC` | set when the programs are static: see [`static_only!`] |
//! | `FCGI_TEST_SECOND_RUN` | set when the suite has already run as root: see [`needs_root!`] |

mod address;
mod connection;
mod deadline;
mod executable;
mod http;
pub mod inject;
mod markdown;
mod port;
pub mod proc;
mod process;
mod program;
mod relay;
mod skip;
mod stray;
mod temp;
mod web_server;
pub mod wire;

pub use address::Address;
pub use connection::Connection;
pub use deadline::{Deadline, PATIENCE, eventually, eventually_within, holds_for};
pub use executable::{copy_program, write_executable};
pub use http::{Answer, HttpClient};
pub use markdown::{Block, blocks, commands_in_comments};
pub use port::free_port;
pub use process::{Output, Process};
pub use program::{Program, repository};
pub use relay::Relay;
pub use rustix::process::Signal;
#[doc(hidden)]
pub use skip::{is_root, is_second_run, record_elsewhere, record_skip};
pub use stray::Stray;
pub use temp::temp_dir;
pub use tempfile::TempDir;
pub use web_server::WebServer;
