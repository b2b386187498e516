//! What the figures were measured on.

use crate::go::Go;
use std::process::Command;
use std::{fs, thread};

const PEERS: [&str; 8] =
    ["tokio", "tokio-util", "kanal", "flume", "async-channel", "async-stream", "asynk-strim", "futures-util"];

/// The machine and the versions, in a sentence or two.
pub(crate) fn describe(go: Option<&Go>) -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok());
    let rustc =
        rustc.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("of unknown version");
    let go = go.map_or("no Go: its column is empty", Go::version);
    let peers = PEERS.map(|name| format!("{name} {}", locked(name))).join(", ");
    format!(
        "Machine: {cores} cores, {}; {}, Linux {}; load {} when it began. rustc {rustc}; {peers}; {go}.",
        after("/proc/cpuinfo", "model name", ':').unwrap_or_else(|| "unknown CPU".to_owned()),
        after("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| "unknown system".to_owned()),
        first("/proc/sys/kernel/osrelease", '-'),
        first("/proc/loadavg", ' '),
    )
}

/// The value of a key in a file of lines.
fn after(path: &str, key: &str, separator: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(key))?.split_once(separator)?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// What a file begins with.
fn first(path: &str, until: char) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().split(until).next().unwrap_or_default().to_owned()
}

/// The version of a dependency.
fn locked(name: &str) -> &'static str {
    let package = format!("name = \"{name}\"\nversion = \"");
    let (_, version) = include_str!("Cargo.lock").split_once(package.as_str()).unwrap_or(("", "?"));
    version.split('"').next().unwrap_or_default()
}
