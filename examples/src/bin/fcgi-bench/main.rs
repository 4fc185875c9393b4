//! Load for a FastCGI application, as `ab` is for a web server: so many requests on so many connections, answers checked,
//! latencies measured.
//!
//! In the root of a clone, after `cargo build --release`:
//!
//! ```sh
//! target/release/fcgi-spawn -n -s /tmp/app.sock -- target/release/hello
//! # in another terminal
//! target/release/fcgi-bench -n 10000 -c 8 --script /hello --expect 'Hello, World!' unix:/tmp/app.sock
//! ```
//!
//! A thread per connection, blocking sockets; the bytes of the request are made once, and answers are checked piece by
//! piece where they were read, so that what is measured is the application and not the client.
//!
//! - [`options`]: the command line
//! - [`plan`]: what was asked for, ready to be carried out
//! - [`params`], [`request`]: what is sent
//! - [`target`], [`connection`]: the sockets
//! - [`client`]: one thread, its connection and the requests under way on it; start reading here
//! - [`answer`]: what came, compared with what was expected
//! - [`failure`]: what can go wrong
//! - [`budget`]: how many requests may still begin
//! - [`tally`], [`summary`]: what came of them, and how it is printed

mod answer;
mod budget;
mod client;
mod connection;
mod failure;
mod options;
mod params;
mod plan;
mod request;
mod summary;
mod tally;
mod target;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;

use budget::Budget;
use client::Client;
use failure::reason;
use options::{Command, HELP, Options};
use plan::Plan;
use summary::Summary;
use tally::Tally;

/// The exit status when nothing could be sent.
const FAILURE: u8 = 2;

/// A client's buffers are on the heap.
const STACK: usize = 128 * 1024;

fn main() -> ExitCode {
    let done = match Options::parse(std::env::args_os()) {
        Ok(Command::Help) => print(HELP).map(|()| true),
        Ok(Command::Run(options)) => run(&options),
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fcgi-bench: {error}");
            FAILURE.into()
        }
    }
}

/// Carries out what was asked for, and says whether all answers were right.
fn run(options: &Options) -> Result<bool, String> {
    let plan = Plan::new(options)?;
    let budget = Budget::new(options.requests, options.time, stop_on_ctrl_c()?);
    let began = Instant::now();
    let tally = bench(options, &plan, &budget)?;
    let summary = Summary { options, plan: &plan, tally: &tally, elapsed: began.elapsed() };
    print(&if options.json { summary.json() } else { summary.text() })?;
    Ok(tally.is_right())
}

/// The first Ctrl-C lets no more requests begin, so that there is a summary; the second one ends us.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&stop))
        .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&stop)))
        .map_err(|error| format!("cannot catch SIGINT: {}", reason(&error)))?;
    Ok(stop)
}

/// Runs the clients and adds up what came of their requests.
fn bench(options: &Options, plan: &Plan, budget: &Budget) -> Result<Tally, String> {
    thread::scope(|scope| {
        let (done, tallies) = mpsc::channel();
        for number in 0..options.connections {
            let done = done.clone();
            let client = move || {
                let _ = done.send(Client::new(plan, budget).run());
            };
            if let Err(error) = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, client) {
                budget.stop();
                return Err(format!("cannot start a thread for connection {}: {}", number + 1, reason(&error)));
            }
        }
        drop(done);
        let shows_progress = options.progress || io::stderr().is_terminal();
        Ok(collect(tallies, Tally::new(2 * plan.timeout), shows_progress.then_some(budget)))
    })
}

/// Adds up the tallies until the last client has left; meanwhile says every second how far it got.
fn collect(tallies: Receiver<Tally>, mut all: Tally, progress: Option<&Budget>) -> Tally {
    let began = Instant::now();
    let (mut seconds, mut before) = (1, 0);
    loop {
        let next = began + Duration::from_secs(seconds);
        match tallies.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(tally) => all.add(tally),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => {
                if let Some((begun, failed)) = progress.map(Budget::progress) {
                    let rate = begun - before;
                    eprintln!("fcgi-bench: {seconds} s, {begun} requests, {rate} in the last second, {failed} failed");
                    before = begun;
                }
                seconds += 1;
            }
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write the summary: {}", reason(&error)))
}
