//! The program: everything it does is in the library, so that it can also be run from another program.

use std::process::ExitCode;

#[global_allocator]
static MEMORY: fcgi_spawn::Memory = fcgi_spawn::Memory;

fn main() -> ExitCode {
    fcgi_spawn::main(std::env::args_os())
}
