//! Black-box tests: everything a user sees of our programs, alone and behind real web servers.
//!
//! One binary, one module per subject. Tests that need a web server are in modules named `servers`, which is how
//! `tests/run --quick` leaves them out.

mod app;
mod bench;
mod bench_app;
mod cgi;
mod cgi_bridge;
mod container;
mod contract;
mod demo;
mod dist;
mod drain;
mod dump;
mod echo;
mod environment;
mod files;
mod form;
mod gateway;
mod get;
mod health;
mod hello;
mod helpers;
mod hostile;
mod idle;
mod inject;
mod launcher;
mod machine;
mod man;
mod monitor;
mod old_kernel;
mod once;
mod output;
mod rights;
mod roles;
mod search;
mod servers;
mod shortage;
mod start;
mod static_files;
mod stops;
mod supervise;
mod supervise_load;
mod supervised;
mod typed;
mod upload;
