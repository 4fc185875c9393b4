//! What the tests use beside Rust, and how it is installed.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::context::{find, is_root};
use crate::restore::Restore;

/// A program or a file, Debian's package of it, and what is left out without it.
struct Requirement {
    program: &'static str,
    package: &'static str,
    without: &'static str,
}

const fn needs(program: &'static str, package: &'static str, without: &'static str) -> Requirement {
    Requirement { program, package, without }
}

/// A web server is one line here and a module `tests/suite/servers/NAME.rs`.
const REQUIREMENTS: [Requirement; 31] = [
    needs("nginx", "nginx", "the tests behind nginx"),
    needs("lighttpd", "lighttpd", "the tests behind lighttpd"),
    needs("apache2", "apache2", "the tests behind Apache httpd"),
    needs("/usr/lib/apache2/modules/mod_fcgid.so", "libapache2-mod-fcgid", "the tests behind mod_fcgid"),
    needs("haproxy", "haproxy", "the tests behind HAProxy"),
    needs("caddy", "caddy", "the tests behind Caddy"),
    needs("h2o", "h2o", "the tests behind h2o"),
    needs("busybox", "busybox", "the tests of plain CGI"),
    needs("cgi-fcgi", "libfcgi-bin", "the tests behind cgi-fcgi"),
    needs("curl", "curl", "the commands of our pages"),
    needs("systemd-socket-activate", "systemd", "the start by systemd"),
    needs("setpriv", "util-linux", "the run as nobody"),
    needs("g++", "g++", "fuzzing"),
    needs("spawn-fcgi", "spawn-fcgi", "the launcher's contract on the original"),
    needs("php-cgi", "php-cgi", "the tests with PHP"),
    needs("fcgiwrap", "fcgiwrap", "the tests with fcgiwrap"),
    needs("/var/lib/dpkg/info/libfcgi-perl.list", "libfcgi-perl", "the tests with Perl's FCGI"),
    needs("/var/lib/dpkg/info/python3-venv.list", "python3-venv", "the tests with flup"),
    needs("/usr/lib/git-core/git-http-backend", "git", "the tests of cgi-bridge with git"),
    needs("/usr/lib/cgit/cgit.cgi", "cgit", "the tests of cgi-bridge with cgit"),
    needs("/var/lib/dpkg/info/perl.list", "perl", "the tests of cgi-bridge with Perl"),
    needs("ip", "iproute2", "the tests with several machines, and the commands of our pages"),
    needs("debootstrap", "debootstrap", "the init systems and the Debian package"),
    needs("dpkg-shlibdeps", "dpkg-dev", "the Debian package"),
    needs("shellcheck", "shellcheck", "the check of shell scripts"),
    needs("make", "make", "the check of the OpenWrt package"),
    needs("mandoc", "mandoc", "the check of the man pages"),
    needs("zsh", "zsh", "the check of its completions"),
    needs("fish", "fish", "the check of its completions"),
    needs("readelf", "binutils", "the static programs"),
    needs("strace", "strace", "the launcher's failing system calls"),
];

/// The file that keeps Debian's packages from starting their daemons.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// What is missing, a line each.
pub(crate) fn missing() -> Vec<String> {
    let missing = REQUIREMENTS.iter().filter(|needed| find(needed.program).is_none());
    missing
        .map(|needed| {
            let Requirement { program, package, without } = needed;
            format!("{program} is missing (Debian's package {package}): without it, {without} are skipped")
        })
        .collect()
}

/// Installs the packages of everything that is missing. No daemon is started, and no service enabled.
pub(crate) fn install(restore: &mut Restore) -> Result<(), String> {
    let missing = REQUIREMENTS.iter().filter(|needed| find(needed.program).is_none());
    let packages: BTreeSet<&str> = missing.map(|needed| needed.package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    if !is_root() || find("apt-get").is_none() {
        return Err("--install needs root, and Debian or Ubuntu".into());
    }
    println!("installing {}", packages.iter().copied().collect::<Vec<_>>().join(" "));
    restore.services_before(&services())?;
    if !Path::new(POLICY).exists() {
        restore.policy()?;
        fs::write(POLICY, "#!/bin/sh\n# made by tests/run\nexit 101\n")
            .and_then(|()| fs::set_permissions(POLICY, Permissions::from_mode(0o755)))
            .map_err(|error| format!("{POLICY}: {error}"))?;
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]).args(words);
        command.stdin(Stdio::null()).output().map_err(|error| format!("apt-get: {error}"))
    };
    // Packages may be there although their list is not.
    let _ = apt(&["update"]);
    let mut words = vec!["install", "-y", "--no-install-recommends"];
    words.extend(packages);
    let installed = apt(&words)?;
    let undone = restore.undo_installation();
    if !installed.status.success() {
        let _ = std::io::stdout().write_all(&installed.stdout);
        let error = String::from_utf8_lossy(&installed.stderr);
        return Err(format!("apt-get install fails: {}", error.lines().last().unwrap_or_default()));
    }
    undone
}

/// All services that start at boot, by the links that say so.
pub(crate) fn services() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let folders = ["/etc/systemd/system", "/etc/systemd/user"].map(Path::new);
    let wants = folders.iter().flat_map(|folder| entries(folder)).filter(|path| path.ends_with(".wants"));
    for link in wants.flat_map(|folder| entries(Path::new(&folder))) {
        found.insert(link);
    }
    for level in ["2", "3", "4", "5", "S"] {
        let links = entries(Path::new(&format!("/etc/rc{level}.d")));
        found
            .extend(links.into_iter().filter(|link| link.rsplit('/').next().is_some_and(|name| name.starts_with('S'))));
    }
    found
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.path().to_str().map(str::to_owned)).collect()
}

/// Removes what keeps daemons from starting, if it is ours.
pub(crate) fn remove_policy() -> Result<(), String> {
    let ours = fs::read_to_string(POLICY).is_ok_and(|text| text.contains("made by tests/run"));
    if ours { fs::remove_file(POLICY).map_err(|error| format!("{POLICY}: {error}")) } else { Ok(()) }
}

/// Disables a service that a package has enabled, by its link: nginx of /etc/systemd/system/multi-user.target.wants, or of
/// /etc/rc2.d/S01nginx.
pub(crate) fn disable(link: &str) -> Result<(), String> {
    let name = link.rsplit('/').next().unwrap_or_default();
    let words = if link.starts_with("/etc/rc") {
        vec!["update-rc.d", name.trim_start_matches('S').trim_start_matches(|c: char| c.is_ascii_digit()), "disable"]
    } else {
        vec!["systemctl", "--quiet", "disable", name]
    };
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() || !Path::new(link).exists() => Ok(()),
        Ok(output) => Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end())),
        Err(error) => Err(format!("{words:?}: {error}")),
    }
}
