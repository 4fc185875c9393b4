//! What cargo builds: programs, and executables with tests in them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::context::Context;
use crate::step::{Order, Outcome};

/// An executable with tests in it.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// Package and target: `fcgi-app::hostile`, `fcgi-app` for the unit tests of a library.
    pub(crate) name: String,
    /// Where cargo would run it.
    pub(crate) directory: PathBuf,
}

/// Builds all programs and all executables with tests, in the development profile.
pub(crate) fn build_tests(context: &Context, order: &Order) -> Outcome {
    let mut command = context.cargo(order, &["build", "--workspace", "--lib", "--bins", "--tests"]);
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let output = match command.spawn().and_then(|child| child.wait_with_output()) {
        Ok(output) => output,
        Err(error) => return Outcome::failed(format!("cargo: {error}")),
    };
    if !output.status.success() {
        return Outcome::failed(context.tail(order));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables: Vec<_> =
        messages.lines().filter_map(|line| executable(&serde_json::from_str(line).ok()?)).collect();
    executables.sort_by(|a, b| a.name.cmp(&b.name));
    let _ = context.executables.set(executables);
    Outcome::passed()
}

/// The executable of one message, if it has tests.
fn executable(message: &Value) -> Option<Executable> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let directory = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
    let target = message["target"]["name"].as_str()?.replace('_', "-");
    let package = message["package_id"].as_str()?.rsplit('/').next()?;
    // path+file:///folder/package#0.1.0, or …/folder#name@0.1.0
    let (folder, version) = package.split_once('#').unwrap_or((package, ""));
    let package = version.split_once('@').map_or(folder, |(name, _)| name);
    let is_library = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "lib");
    let name = match (is_library, message["target"]["kind"][0].as_str()) {
        (true, _) => package.to_owned(),
        (false, Some("bin")) => format!("{package}::bin::{target}"),
        _ => format!("{package}::{target}"),
    };
    Some(Executable { path, name, directory })
}

/// cargo's target directory of the workspace in the current directory.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        format!("cargo metadata fails: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default())
    })?;
    metadata["target_directory"].as_str().map(PathBuf::from).ok_or_else(|| "cargo names no target directory".into())
}
