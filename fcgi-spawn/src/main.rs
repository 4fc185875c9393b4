//! The program: everything it does is in the library, so that it can also be run from another program.

use std::process::ExitCode;

fn main() -> ExitCode {
    fcgi_spawn::main(std::env::args_os())
}
