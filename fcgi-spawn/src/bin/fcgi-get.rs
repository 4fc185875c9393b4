//! `fcgi-get` as a program of its own; `fcgi-spawn` is the same one when it is called by this name.

use std::process::ExitCode;

fn main() -> ExitCode {
    fcgi_spawn::get::main(std::env::args_os())
}
