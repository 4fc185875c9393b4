use std::time::Duration;

/// What a server allows its peers and its handlers, and how long.
///
/// Made from the defaults: `Limits { connections: 64, ..Limits::default() }`. Times are kept to about two seconds,
/// never too early; they cost no system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once, each by a thread of its own; more wait in the listener's backlog. When all are taken
    /// and another waits, the connection that has been idle longest, and for more than 250 ms, is closed; so it is when
    /// descriptors or threads run out before. With
    /// [`Server::multiplex`](crate::Server::multiplex) as many handlers, or 64 if that is more, have threads besides.
    /// Default 256.
    pub connections: usize,
    /// Stack of a serving thread, on which the handler runs, in bytes: address space, of which only what is touched
    /// becomes memory. A handler that needs more ends the process. Default 256 KiB.
    pub stack: usize,
    /// The largest `FCGI_PARAMS` of a request, in encoded bytes; larger ones are answered 431. Default 1 MiB.
    pub params_len: u32,
    /// The most params of a request; more are answered 431. Default 16,384.
    pub pairs: u32,
    /// The longest body a handler can read, in bytes: the read that would give more fails, and if the handler does too
    /// the answer is 413. Default: no limit.
    pub body_len: Option<u64>,
    /// How long the params of a request may take from its beginning; then the connection is closed. Default 30 s.
    pub params_time: Duration,
    /// How long a body may bring no byte while it is read; then the handler gets `TimedOut`. Default 60 s.
    pub silence: Duration,
    /// How long a peer may take nothing of a response; then the handler's write fails with `TimedOut`. One that reads slowly
    /// is served as long as it reads. Default 60 s.
    pub write_time: Duration,
    /// How long a connection may wait for a request; then it is closed, without a line in the log. Default: no limit.
    pub idle_time: Option<Duration>,
    /// How long a handler may take. Then the server ends with an error, since a thread cannot be ended, for its supervisor to
    /// start another process. Under a supervisor that listens for a heartbeat, the heartbeat stops instead: see
    /// [`Server::serve`](crate::Server::serve). Default: no limit.
    pub handler_time: Option<Duration>,
    /// Requests after which the server stops by itself, so that a fresh process takes over. Default: no limit.
    pub requests: Option<u32>,
    /// Memory, in bytes, for what grows with what peers send: params that outgrow a connection's read buffer of 4 KiB, all
    /// input of multiplexed requests, and 256 KiB for each other body while it flows, as long as half is left. A request
    /// that finds none left is answered 503; a body goes on through the small buffer. Default 16 MiB.
    pub budget: usize,
    /// How long a stop waits for requests under way, unless the environment variable `FCGI_STOP_TIMEOUT` says otherwise. The
    /// supervisor has to wait longer: fcgi-spawn's `--stop-timeout` is 10 s. Default 5 s.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            stack: 256 << 10,
            params_len: 1 << 20,
            pairs: 16384,
            body_len: None,
            params_time: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            write_time: Duration::from_secs(60),
            idle_time: None,
            handler_time: None,
            requests: None,
            budget: 16 << 20,
            stop_timeout: Duration::from_secs(5),
        }
    }
}
