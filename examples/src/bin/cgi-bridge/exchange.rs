//! A request on its way to a program, and the answer back.
//!
//! One loop waits for everything at once: the connection, the program's three pipes, its end, the time, and the end of the
//! bridge. Nothing in it waits for one of them alone, so neither side can hold up the other.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use fcgi_app::{Body, Request, Response};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, getsockname};

use super::Bridge;
use super::head::Head;
use super::outgoing::Outgoing;
use super::program::{LOOK_AGAIN, Program};
use super::script::{Refusal, Script};

/// How long a part of an answer waits for the next, so that both leave together.
const GATHER: Duration = Duration::from_millis(20);

/// The status that shells give a program which a signal ended, less the signal.
const KILLED: u32 = 128;

/// How long a program may go on when its answer has ended.
const LINGER: Duration = Duration::from_secs(2);

/// Answers a request by the program that it is for.
pub(super) fn answer(
    bridge: &Bridge,
    request: &Request<'_>,
    body: &mut Body<'_>,
    out: &mut Response<'_>,
) -> io::Result<()> {
    let script = match Script::find(request, &bridge.options.allowed) {
        Ok(script) => script,
        Err(Refusal { status, why }) => return refuse(out, status, &why),
    };
    let file = script.file.display();
    let mut command = Command::new(&script.file);
    command.current_dir(script.folder()).env_clear();
    command.envs(bridge.options.environment.iter().cloned()).envs(script.environment(request));
    let program = match Program::start(&mut command) {
        Ok(program) => program,
        Err(error) => {
            let (status, hint) = match error.kind() {
                ErrorKind::PermissionDenied => (403, ""),
                // It was there: what is not is the interpreter in its first line.
                ErrorKind::NotFound => (500, " (its interpreter?)"),
                _ => (500, ""),
            };
            return refuse(out, status, &format!("'{file}' cannot be executed: {error}{hint}"));
        }
    };
    let deadline = Instant::now() + bridge.options.time_limit;
    let mut exchange = Exchange::new(program, body, out, deadline, bridge.options.duplex);
    let outcome = exchange.run(bridge.end.as_fd());
    let Exchange { program, out, .. } = exchange;
    match outcome {
        Ok(()) if !program.has_ended() => {
            program.end();
            Ok(())
        }
        Ok(()) => {
            let status = program.reap()?;
            if let Some(code @ 1..) = status.code() {
                out.app_status(code.unsigned_abs());
            }
            if !status.success() {
                writeln!(out.error_log(), "cgi-bridge: '{file}' ended by {status}")?;
            }
            if let Some(signal) = status.signal() {
                // Its output ended where it was killed.
                out.app_status(KILLED + signal.unsigned_abs());
                out.abort();
            }
            Ok(())
        }
        Err(why) => {
            program.end();
            let line = format!("'{file}': {why}");
            if matches!(why, End::TimeOver) {
                out.app_status(KILLED + rustix::process::Signal::KILL.as_raw().unsigned_abs());
            }
            // What was sent must not pass for all of it.
            if out.is_sent() { Err(io::Error::other(line)) } else { refuse(out, why.status(), &line) }
        }
    }
}

/// An answer of our own, and why it is given, in the error log.
fn refuse(out: &mut Response<'_>, status: u16, why: &str) -> io::Result<()> {
    writeln!(out.error_log(), "cgi-bridge: {why}")?;
    out.status(status).text(format_args!("{status}\n"))
}

/// Why a program is ended.
#[derive(Debug)]
enum End {
    ClientGone,
    TimeOver,
    Stop,
    /// The body did not come whole.
    Body(io::Error),
    /// What it says is no answer.
    Malformed(String),
    /// Something of ours failed.
    Failed(io::Error),
}

impl End {
    /// What the client is told, if there is one.
    fn status(&self) -> u16 {
        match self {
            Self::ClientGone | Self::Body(_) => 400,
            Self::TimeOver => 504,
            Self::Stop => 503,
            Self::Malformed(_) => 502,
            Self::Failed(_) => 500,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientGone => f.write_str("the client has gone"),
            Self::TimeOver => f.write_str("its time is over"),
            Self::Stop => f.write_str("the bridge ends"),
            Self::Body(error) => write!(f, "the request's body: {error}"),
            Self::Malformed(why) => f.write_str(why),
            Self::Failed(error) => write!(f, "{error}"),
        }
    }
}

/// What of all that is waited for has come.
struct Ready {
    /// The connection can be written to.
    connection: bool,
    stdout: bool,
}

struct Exchange<'e, 'b, 'c> {
    program: Program,
    body: &'e mut Body<'b>,
    out: &'e mut Response<'c>,
    deadline: Instant,
    /// Whether the answer may begin while the body comes.
    duplex: bool,
    /// What hangs the connection up: on a unix socket its end, over TCP the end of what its peer sends.
    gone: PollFlags,
    /// Whether the body has not ended.
    body_open: bool,
    /// What came of the header block; `None` when it is complete.
    head: Option<Vec<u8>>,
    outgoing: Outgoing,
    /// Since when something waits in the response.
    unflushed: Option<Instant>,
    /// When the answer had ended.
    answered: Option<Instant>,
    buffer: Vec<u8>,
}

impl<'e, 'b, 'c> Exchange<'e, 'b, 'c> {
    fn new(
        program: Program,
        body: &'e mut Body<'b>,
        out: &'e mut Response<'c>,
        deadline: Instant,
        duplex: bool,
    ) -> Self {
        let address = body.connection().map(getsockname);
        let is_unix = matches!(&address, Some(Ok(address)) if address.address_family() == AddressFamily::UNIX);
        let gone = PollFlags::HUP | PollFlags::ERR | if is_unix { PollFlags::empty() } else { PollFlags::RDHUP };
        Self {
            program,
            body,
            out,
            deadline,
            duplex,
            gone,
            body_open: true,
            head: Some(Vec::new()),
            outgoing: Outgoing::default(),
            unflushed: None,
            answered: None,
            buffer: vec![0; Outgoing::CHUNK],
        }
    }

    /// Goes on until the answer is complete and the program has ended.
    fn run(&mut self, stop: BorrowedFd<'_>) -> Result<(), End> {
        loop {
            // In this order: what it said before its end is there when it has ended.
            let has_ended = self.program.has_ended();
            let stuck = self.feed()?;
            self.log()?;
            if self.linger_until().is_some_and(|until| has_ended || Instant::now() >= until) {
                return Ok(());
            }
            let ready = self.wait(stop, stuck, has_ended)?;
            if ready.connection {
                self.send()?;
            }
            if ready.stdout {
                self.receive(ready.connection)?;
            }
        }
    }

    /// Until when the program is waited for, if its answer is complete.
    fn linger_until(&self) -> Option<Instant> {
        self.answered.filter(|_| self.outgoing.is_empty()).map(|since| since + LINGER)
    }

    /// Whether some of the answer may leave. nginx, Caddy and mod_fcgid send no more of a body when the answer begins: that
    /// waits until the body has come, or is not wanted any more.
    fn may_send(&self) -> bool {
        let wants_more = self.body_open && self.program.stdin.is_some() && self.answered.is_none();
        !wants_more || self.duplex || !self.outgoing.has_room()
    }

    /// Gives the program what is there of the body; whether its pipe is full.
    fn feed(&mut self) -> Result<bool, End> {
        while self.body_open {
            let bytes = match self.body.fill_now() {
                Ok([]) => {
                    self.body_open = false;
                    self.program.stdin = None;
                    break;
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(End::Body(error)),
            };
            let taken = match &mut self.program.stdin {
                None => bytes.len(),
                Some(stdin) => match stdin.write(bytes) {
                    Ok(written) => written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                    // It does not want the rest.
                    Err(_) => {
                        self.program.stdin = None;
                        bytes.len()
                    }
                },
            };
            self.body.consume(taken);
        }
        Ok(false)
    }

    /// Passes on what the program says on its standard error.
    fn log(&mut self) -> Result<(), End> {
        while let Some(stderr) = &mut self.program.stderr {
            match stderr.read(&mut self.buffer) {
                Ok(0) => self.program.stderr = None,
                Ok(read) => self.out.error_log().write_all(&self.buffer[..read]).map_err(End::Failed)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
        }
        Ok(())
    }

    /// Waits until there is something to do, for no longer than there is time.
    fn wait(&self, stop: BorrowedFd<'_>, stuck: bool, has_ended: bool) -> Result<Ready, End> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(End::TimeOver);
        }
        let may_send = self.may_send();
        let flush_due = self.unflushed.filter(|_| may_send).map(|since| since + GATHER);
        let sends = may_send && (!self.outgoing.is_empty() || flush_due.is_some_and(|due| due <= now));
        let look_again = self.program.exit.is_none().then_some(now + LOOK_AGAIN);
        let sooner = [flush_due.filter(|_| !sends), self.linger_until(), look_again];
        let by = sooner.into_iter().flatten().fold(self.deadline, Instant::min);
        let receives = self.outgoing.is_empty() || (self.body_open && self.outgoing.has_room());

        let mut connection = self.gone & PollFlags::RDHUP;
        connection.set(PollFlags::IN, self.body_open && !stuck);
        connection.set(PollFlags::OUT, sends);
        let (socket, pipes) = (self.body.connection(), &self.program);
        let wanted = [
            Some((stop, PollFlags::empty())),
            socket.map(|socket| (socket, connection)),
            pipes.stdin.as_ref().filter(|_| stuck).map(|pipe| (pipe.as_fd(), PollFlags::OUT)),
            pipes.stdout.as_ref().filter(|_| receives).map(|pipe| (pipe.as_fd(), PollFlags::IN)),
            pipes.stderr.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN)),
            pipes.exit.as_ref().filter(|_| !has_ended).map(|exit| (exit.as_fd(), PollFlags::IN)),
        ];
        let mut fds = Vec::with_capacity(wanted.len());
        let places = wanted.map(|wanted| {
            wanted.map(|(fd, flags)| {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                fds.len() - 1
            })
        });
        let time = Timespec::try_from(by.saturating_duration_since(now)).ok();
        match poll(&mut fds, time.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => fds.iter_mut().for_each(PollFd::clear_revents),
            Err(error) => return Err(End::Failed(error.into())),
        }
        let [stop, connection, _, stdout, ..] =
            places.map(|place| place.map_or(PollFlags::empty(), |place| fds[place].revents()));
        if !stop.is_empty() {
            return Err(End::Stop);
        }
        if connection.intersects(self.gone) {
            return Err(End::ClientGone);
        }
        Ok(Ready {
            connection: if socket.is_some() { connection.contains(PollFlags::OUT) } else { sends },
            stdout: !stdout.is_empty(),
        })
    }

    /// Sends what is next of the answer, or what waits in the response. The connection has room: it does not wait.
    fn send(&mut self) -> Result<(), End> {
        let sent = if self.outgoing.is_empty() {
            self.unflushed = None;
            self.out.flush()
        } else {
            self.unflushed.get_or_insert_with(Instant::now);
            self.out.write(self.outgoing.next()).and_then(|sent| self.outgoing.consume(sent))
        };
        sent.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => End::TimeOver,
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => End::ClientGone,
            _ => End::Failed(error),
        })
    }

    /// Takes what the program says.
    fn receive(&mut self, can_send: bool) -> Result<(), End> {
        // What can be sent is sent first, before a file is used.
        if can_send && !self.outgoing.is_empty() {
            return Ok(());
        }
        let Some(stdout) = &mut self.program.stdout else { return Ok(()) };
        let bytes = match stdout.read(&mut self.buffer) {
            Ok(read) => &self.buffer[..read],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(End::Failed(error)),
        };
        if bytes.is_empty() {
            self.program.stdout = None;
            self.answered = Some(Instant::now());
        }
        let Some(head) = &mut self.head else { return self.outgoing.push(bytes).map_err(End::Failed) };
        head.extend_from_slice(bytes);
        match Head::parse(head).map_err(End::Malformed)? {
            None if bytes.is_empty() => Err(End::Malformed("its output ended without a header block".to_owned())),
            None => Ok(()),
            Some(found) => {
                let dropped = found.send(self.out).join(", ");
                if !dropped.is_empty() {
                    writeln!(
                        self.out.error_log(),
                        "cgi-bridge: left out, since only the web server may send it: {dropped}"
                    )
                    .map_err(End::Failed)?;
                }
                self.unflushed = Some(Instant::now());
                self.outgoing.push(&head[found.len..]).map_err(End::Failed)?;
                self.head = None;
                Ok(())
            }
        }
    }
}
