//! All steps of the run, in the order in which they begin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;

use crate::cargo;
use crate::context::{Context, find};
use crate::libtest;
use crate::step::{Kind, Order, Outcome, Step};
use crate::suite::Suite;

/// The modules of the black-box tests that need web servers, other machines or programs in the release profile.
const SERVERS: [&str; 3] = ["servers::", "machine::", "typed::"];
const LOAD: &str = "supervise_load::";

/// The modules whose tests depend on who runs them.
const PRIVILEGES: [&str; 8] = [
    "contract::",
    "launcher::",
    "once::",
    "supervise::",
    "supervised::",
    "output::",
    "health::",
    "servers::init_scripts",
];

/// What is asked of static programs, and the tests that have a filter of their own, which Linux 3.2 would not install.
const STATIC: [&str; 13] = [
    "echo::",
    "hello::",
    "cgi::",
    "get::",
    "once::",
    "contract::",
    "launcher::",
    "supervise::",
    "supervised::",
    "output::",
    "health::",
    "container::",
    "static_files::",
];
const FILTERS: [&str; 2] = ["static_files::a_supervisor_and_its_workers_ask_for_nothing_newer", "old_kernel::"];

/// What needs programs that a booted kernel is not given.
const NOT_BOOTED: [&str; 3] = ["servers::", "php", "other_shells"];

/// All steps. What many others need comes first, then tests that wait much, with builds beside them.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "build",
        about: "all programs and tests, in the development profile",
        kind: Kind::Quick,
        needs: &[],
        weight: 4,
        lock: Some("target"),
        run: cargo::build_tests,
    },
    Step {
        name: "release",
        about: "the programs, in the release profile, as README builds them",
        kind: Kind::Full,
        needs: &[],
        weight: 3,
        lock: Some("release"),
        run: |context, order| {
            // First as README has it, so that there is nothing left to be built when a test types it.
            let built = context.check(order, &mut context.cargo(order, &["build", "--release"]));
            if built.passed == 0 {
                return built;
            }
            context.check(order, &mut context.cargo(order, &["build", "--release", "-p", "fcgi-test-app"]))
        },
    },
    script("proto-alone", "fcgi-proto depends on nothing", Kind::Quick, &[], 0, None),
    script("spawn-alone", "fcgi-spawn depends on no other crate of ours", Kind::Quick, &[], 0, None),
    script("no-c", "the runtime crates need no C", Kind::Quick, &[], 0, None),
    script("build-static-refuses", "dist/build-static reports what is missing", Kind::Static, &[], 0, None),
    script("build-static-fetches", "dist/build-static goes on with what rustup fetches", Kind::Static, &[], 0, None),
    Step {
        name: "format",
        about: "the code is formatted",
        kind: Kind::Quick,
        needs: &[],
        weight: 1,
        lock: None,
        run: |context, order| context.check(order, &mut context.cargo(order, &["fmt", "--all", "--check"])),
    },
    Step {
        name: "black-box",
        about: "the programs as a user sees them",
        kind: Kind::Quick,
        needs: &["build"],
        weight: 1,
        lock: None,
        run: |context, order| {
            let skips: Vec<&str> = SERVERS.iter().chain([&LOAD]).flat_map(|module| ["--skip", module]).collect();
            Suite::new(context, if order.filter.is_empty() { &skips } else { &[] }).run(context, order)
        },
    },
    Step {
        name: "unit",
        about: "unit tests, and each crate's own tests",
        kind: Kind::Quick,
        needs: &["build"],
        weight: 1,
        lock: None,
        run: unit,
    },
    Step {
        name: "contract-on-the-original",
        about: "the launcher's contract holds for Debian's spawn-fcgi: the tests test it",
        kind: Kind::Quick,
        needs: &["build"],
        weight: 0,
        lock: None,
        run: contract_on_the_original,
    },
    Step {
        name: "as-nobody",
        about: "what depends on privileges, without any",
        kind: Kind::Full,
        needs: &["build"],
        weight: 0,
        lock: None,
        run: |context, order| {
            Suite::new(context, if order.filter.is_empty() { &PRIVILEGES } else { &[] }).run_as_nobody(context, order)
        },
    },
    Step {
        name: "servers",
        about: "behind eight web servers, under init systems, as packages; every command of our pages, typed",
        kind: Kind::Full,
        needs: &["build", "release"],
        weight: 1,
        lock: None,
        run: servers,
    },
    Step {
        name: "load",
        about: "reloads, kills and replacement under load: nothing is lost",
        kind: Kind::Full,
        needs: &["build", "release"],
        weight: 1,
        lock: None,
        run: |context, order| {
            let arguments: &[&str] =
                if order.filter.is_empty() { &[LOAD, "--show-output"] } else { &["--show-output"] };
            let programs = context.target.join("release");
            Suite { threads: 1, programs, ..Suite::new(context, arguments) }.run(context, order)
        },
    },
    Step {
        name: "hostile",
        about: "a worker that attacks for a minute hurts nothing outside of its user: SECURITY.md",
        kind: Kind::Named,
        needs: &["build"],
        weight: 2,
        lock: None,
        run: |context, order| {
            let arguments: &[&str] =
                if order.filter.is_empty() { &["hostile::", "--show-output"] } else { &["--show-output"] };
            let mut suite = Suite { threads: 1, ..Suite::new(context, arguments) };
            suite.environment.push(("FCGI_TEST_HOSTILE_SECONDS", "60".into()));
            suite.run(context, order)
        },
    },
    Step {
        name: "deploys",
        about: "programs that die after 0 to 4.9 s, with 1, 2 and 4 workers, by command and by --auto-update: nothing is lost",
        kind: Kind::Named,
        needs: &["build"],
        weight: 2,
        lock: None,
        run: |context, order| {
            let flup = context.ask(order, &["tests/python-with-flup"]);
            let late = ["::dies_after_three_seconds", "::dies_just_before_it_is_proven"];
            let arguments: &[&str] = if order.filter.is_empty() { &late } else { &[] };
            let mut suite = Suite::new(context, arguments);
            suite.environment.push(("FCGI_TEST_FLUP", flup.unwrap_or_default().into()));
            suite.environment.push(("FCGI_TEST_DEPLOYS", "all".into()));
            suite.run(context, order)
        },
    },
    script("old-kernel", "the stand-in for Linux 3.2 answers as Linux 3.2 does", Kind::Static, &["build"], 0, None),
    script(
        "static-x86_64",
        "static programs for x86_64 need nothing but a kernel",
        Kind::Static,
        &[],
        2,
        Some("static"),
    ),
    script("static-i686", "static programs for i686 need nothing but a kernel", Kind::Static, &[], 2, Some("static")),
    script(
        "same-bytes",
        "static programs are the same bytes in another directory",
        Kind::Static,
        &["static-x86_64"],
        2,
        None,
    ),
    Step {
        name: "on-old-kernel-x86_64",
        about: "static programs, as if on Linux 3.2",
        kind: Kind::Static,
        needs: &["build", "static-x86_64"],
        weight: 1,
        lock: None,
        run: |context, order| {
            on_old_kernel(context, order, &context.repository.join("dist/out/x86_64-unknown-linux-musl"))
        },
    },
    Step {
        name: "on-old-kernel-i686",
        about: "static programs for i686, as if on Linux 3.2",
        kind: Kind::Static,
        needs: &["build", "static-i686"],
        weight: 1,
        lock: None,
        run: |context, order| {
            on_old_kernel(context, order, &context.repository.join("dist/out/i686-unknown-linux-musl"))
        },
    },
    script(
        "msrv",
        "everything compiles with Rust 1.85, and fcgi-proto cannot panic there",
        Kind::Full,
        &[],
        1,
        Some("msrv"),
    ),
    script("fuzz", "fuzz targets, for a number of executions", Kind::Full, &[], 2, Some("fuzz")),
    Step {
        name: "clippy",
        about: "clippy has no remark",
        kind: Kind::Quick,
        needs: &[],
        weight: 1,
        lock: Some("target"),
        run: |context, order| {
            let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            context.check(order, &mut context.cargo(order, &words))
        },
    },
    Step {
        name: "doc-tests",
        about: "the examples in the documentation",
        kind: Kind::Quick,
        needs: &["build"],
        weight: 1,
        lock: Some("target"),
        run: doc_tests,
    },
    Step {
        name: "documentation",
        about: "every public item is documented, and every link leads somewhere",
        kind: Kind::Quick,
        needs: &[],
        weight: 1,
        lock: Some("target"),
        run: |context, order| {
            let mut command = context.cargo(order, &["doc", "--workspace", "--no-deps"]);
            context.check(order, command.env("RUSTDOCFLAGS", "-D warnings"))
        },
    },
    script("no-panic", "fcgi-proto cannot panic", Kind::Quick, &[], 1, Some("no-panic")),
    script("i686", "fcgi-proto on 32 bits", Kind::Full, &[], 1, Some("target")),
    script("bench-script", "examples/bench/run prints its tables", Kind::Full, &["build"], 1, None),
    script("footprint", "what static programs take of a machine", Kind::Static, &["static-x86_64"], 0, None),
    script("no-randomness", "the launcher and hello need no random numbers", Kind::Static, &["static-x86_64"], 0, None),
    Step {
        name: "boot-x86_64",
        about: "static programs on a kernel that is booted: OLD_KERNEL, or Debian's",
        kind: Kind::Named,
        needs: &["build", "static-x86_64"],
        weight: 1,
        lock: None,
        run: |context, order| {
            on_booted_kernel(context, order, &context.repository.join("dist/out/x86_64-unknown-linux-musl"), &[])
        },
    },
    Step {
        name: "boot-i686",
        about: "static programs for i686 on the same kernel, after 2038",
        kind: Kind::Named,
        needs: &["build", "static-i686"],
        weight: 1,
        lock: None,
        run: |context, order| {
            let built = context.repository.join("dist/out/i686-unknown-linux-musl");
            on_booted_kernel(context, order, &built, &["--date", "2040-01-01"])
        },
    },
    Step {
        name: "inject",
        about: "each system call of the launcher fails once: tests/inject, with CASES as FILTERS",
        kind: Kind::Named,
        needs: &["build"],
        weight: 2,
        lock: None,
        run: |context, order| {
            let mut command = context.command(order, context.target.join("debug/fault-injection"));
            command.env("FCGI_TEST_BIN_DIR", context.target.join("debug")).args(&order.filter);
            context.check(order, &mut command)
        },
    },
    script("miri", "no undefined behaviour in the unit tests", Kind::Named, &[], 1, Some("miri")),
    script("tsan", "no data race in fcgi-app", Kind::Named, &[], 2, Some("tsan")),
    script("coverage", "lines that the tests of the four crates execute", Kind::Named, &[], 2, Some("coverage")),
    target("x86_64-unknown-linux-musl"),
    target("i686-unknown-linux-musl"),
    target("i586-unknown-linux-musl"),
    target("aarch64-unknown-linux-musl"),
    target("armv7-unknown-linux-musleabihf"),
    target("arm-unknown-linux-musleabi"),
    target("armv5te-unknown-linux-musleabi"),
    target("mips-unknown-linux-musl"),
    target("mipsel-unknown-linux-musl"),
    target("riscv64gc-unknown-linux-musl"),
    script(
        "targets-table",
        "the table of docs/static.md, in dist/out/targets.md",
        Kind::AllTargets,
        &["riscv64gc-unknown-linux-musl"],
        0,
        None,
    ),
    by_debian("by-debian-x86_64", |context, order| by_debian_toolchain(context, order, "x86_64-unknown-linux-musl")),
    by_debian("by-debian-i686", |context, order| by_debian_toolchain(context, order, "i686-unknown-linux-musl")),
    script(
        "by-debian-same-bytes",
        "the same bytes in another directory, by Debian's toolchain",
        Kind::AllTargets,
        &["by-debian-x86_64"],
        2,
        None,
    ),
];

/// Static programs for one target, named after it.
const fn target(name: &'static str) -> Step {
    Step {
        name,
        about: "static programs for this target, under qemu",
        kind: Kind::AllTargets,
        needs: &["build"],
        weight: 1,
        lock: Some("static"),
        run: |context, order| {
            let suite = match Suite::executable(context) {
                Ok(suite) => suite,
                Err(outcome) => return outcome,
            };
            let mut command = context.command(order, context.script("tests/checks"));
            context.check(order, command.arg("target").arg(suite).arg(order.step))
        },
    }
}

const fn by_debian(name: &'static str, run: fn(&Context, &Order) -> Outcome) -> Step {
    let about = "static programs by Debian's toolchain, as if on Linux 3.2";
    Step { name, about, kind: Kind::AllTargets, needs: &["build"], weight: 1, lock: Some("by-debian"), run }
}

/// A step that is the function of the same name in tests/checks.
const fn script(
    name: &'static str,
    about: &'static str,
    kind: Kind,
    needs: &'static [&'static str],
    weight: usize,
    lock: Option<&'static str>,
) -> Step {
    let run: fn(&Context, &Order) -> Outcome = |context, order| {
        let mut command = context.command(order, context.script("tests/checks"));
        context.check(order, command.arg(order.step).args(&order.filter))
    };
    Step { name, about, kind, needs, weight, lock, run }
}

/// Everything but the black-box tests, executables side by side, since many tests wait.
fn unit(context: &Context, order: &Order) -> Outcome {
    let executables = context.executables.get().map(Vec::as_slice).unwrap_or_default();
    let executables = executables.iter().filter(|executable| executable.name != "fcgi-tests::suite");
    let runs = executables.map(|executable| -> Box<dyn FnOnce() -> Outcome + Send + '_> {
        Box::new(move || {
            let mut command = context.command(order, &executable.path);
            command.current_dir(&executable.directory).env("RUST_TEST_THREADS", "8");
            libtest::run(context, order, &executable.name, &mut command, None)
        })
    });
    let outcome = libtest::run_all(4 * context.processors, runs.collect());
    if outcome.passed == 0 && outcome.failures.is_empty() {
        return Outcome::failed("no test was run");
    }
    outcome
}

fn doc_tests(context: &Context, order: &Order) -> Outcome {
    let mut words = vec!["test", "--workspace", "--doc", "--no-fail-fast", "--"];
    words.extend(order.filter.iter().map(String::as_str));
    let outcome = context.check(order, &mut context.cargo(order, &words));
    if !outcome.failures.is_empty() {
        return outcome;
    }
    let log = std::fs::read_to_string(context.log_path(order.step)).unwrap_or_default();
    let passed = log.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
    Outcome { passed, ..Outcome::default() }
}

fn contract_on_the_original(context: &Context, order: &Order) -> Outcome {
    let Some(original) = find("spawn-fcgi") else { return Outcome::skipped(order.step, "spawn-fcgi is missing") };
    let arguments = ["contract::", "--skip", "contract::oddities::"];
    let mut suite = Suite::new(context, if order.filter.is_empty() { &arguments } else { &[] });
    suite.environment.push(("FCGI_TEST_BIN_SPAWN_FCGI", original.into()));
    suite.run(context, order)
}

/// Behind web servers, on machines of their own, and as pages tell.
fn servers(context: &Context, order: &Order) -> Outcome {
    let (flup, debian) = thread::scope(|scope| {
        let flup = scope.spawn(|| context.ask(order, &["tests/python-with-flup"]));
        let debian = context.ask(order, &["tests/debian-root"]);
        (flup.join().expect("it does not panic"), debian)
    });
    let mut suite = Suite::new(context, if order.filter.is_empty() { &SERVERS } else { &[] });
    suite.environment.push(("FCGI_TEST_FLUP", flup.unwrap_or_default().into()));
    suite.environment.push(("FCGI_TEST_DEBIAN", debian.unwrap_or_default().into()));
    let outcome = suite.run(context, order);
    let skips = context.run.join(order.step).join("skips");
    let mut tables = context.command(order, "awk");
    tables.args(["-F", "[ \t]", "-f", "tests/matrix.awk"]).arg(skips).arg(context.log_path(order.step));
    let _ = tables.stdout(std::process::Stdio::inherit()).status();
    outcome
}

/// The static programs in place of those they were built from, behind a program that refuses what Linux 3.2 refuses.
fn on_old_kernel(context: &Context, order: &Order, built: &Path) -> Outcome {
    let programs = match link_programs(context, order, built) {
        Ok(programs) => programs,
        Err(outcome) => return outcome,
    };
    let suite = |arguments, wrapper: Option<PathBuf>| {
        let mut suite = Suite::new(context, arguments);
        suite.programs.clone_from(&programs);
        suite.environment.push(("FCGI_TEST_STATIC", "1".into()));
        suite.wrapper = wrapper.into_iter().map(OsString::from).collect();
        suite.run(context, order)
    };
    let mut most = STATIC.to_vec();
    most.extend(FILTERS.iter().flat_map(|filter| ["--skip", filter]));
    let wrapper = context.target.join("debug/old-kernel");
    if !order.filter.is_empty() {
        return suite(&[], Some(wrapper));
    }
    suite(&most, Some(wrapper)).and(suite(&FILTERS, None))
}

/// The static programs in place of those they were built from, in a virtual machine.
fn on_booted_kernel(context: &Context, order: &Order, built: &Path, options: &[&str]) -> Outcome {
    if let Err(why) = context.ask(order, &["tests/boot-kernel", "--prepare"]) {
        return Outcome::skipped(order.step, why);
    }
    let programs = match link_programs(context, order, built) {
        Ok(programs) => programs,
        Err(outcome) => return outcome,
    };
    let suite = match Suite::executable(context) {
        Ok(suite) => suite,
        Err(outcome) => return outcome,
    };
    let mut command = context.command(order, context.script("tests/boot-kernel"));
    command.args(options).arg(suite).arg(programs);
    if order.filter.is_empty() {
        command.args(STATIC).args(NOT_BOOTED.iter().flat_map(|name| ["--skip", name]));
        match std::env::var_os("OLD_KERNEL") {
            None => command.args(FILTERS),
            Some(_) => command.args(FILTERS.iter().flat_map(|filter| ["--skip", filter])),
        };
    }
    let skips = context.directory(order.step).join("skips");
    libtest::run(context, order, "booted", command.env("FCGI_TEST_SKIPS", &skips), Some(&skips))
}

/// A directory of links to the programs in the development profile, and copies of static ones.
fn link_programs(context: &Context, order: &Order, built: &Path) -> Result<PathBuf, Outcome> {
    let programs = context.directory(order.step).join("programs");
    let link = "set -e; mkdir -p \"$0\"; find \"$1\" -maxdepth 1 -type f -perm -100 -exec ln -sf -t \"$0\" {} +; \
         cp -Pf --remove-destination \"$2\"/fcgi-spawn \"$2\"/spawn-fcgi \"$2\"/fcgi-get \"$2\"/hello \"$2\"/echo \"$0\"";
    let mut command = context.command(order, "sh");
    command.args(["-c", link]).arg(&programs).arg(context.target.join("debug")).arg(built);
    let linked = context.check(order, &mut command);
    if linked.failures.is_empty() { Ok(programs) } else { Err(linked) }
}

fn by_debian_toolchain(context: &Context, order: &Order, triple: &str) -> Outcome {
    let mut command = context.command(order, context.script("tests/checks"));
    let built = context.check(order, command.arg("by-debian").arg(triple));
    if built.passed == 0 {
        return built;
    }
    built.and(on_old_kernel(context, order, &context.target.join("by-debian/out").join(triple)))
}
