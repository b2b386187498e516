//! Every mistake has its own message, at the place of the fault, and makes no others; every rule lets through what only
//! looks like it.
//!
//! A case in `ui` holds one mistake and is named for it; its near-misses stand in `ui/accepted` under the same name.
//! The cases named `rustc_…` are what rustc alone can see: they show where it reports it. After a change of a message,
//! `TRYBUILD=overwrite cargo test -p ctx-tests --test ui` writes the new ones, to be read before they are committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "ui/accepted/all.rs"]
mod accepted;

/// The wording of rustc's own errors changes from one release to the next: it is compared on the toolchain that wrote
/// them.
const PINNED: &str = "rustc 1.95.";

#[test]
fn every_mistake_has_its_message() {
    let cases = trybuild::TestCases::new();
    let comparable = rustc_version().starts_with(PINNED);
    for case in cases_in("ui").iter().filter(|case| comparable || !case.starts_with("rustc_")) {
        cases.compile_fail(format!("ui/{case}.rs"));
    }
}

#[test]
fn every_rule_has_its_near_miss() {
    let mistakes = cases_in("ui");
    let accepted = cases_in("ui/accepted");
    let compiled: BTreeSet<String> = include_str!("ui/accepted/all.rs")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned()))
        .collect();
    assert_eq!(accepted, compiled, "what is in the folder is what `all.rs` compiles");
    let of_our_rules = |name: &&String| !name.starts_with("rustc_") && !name.starts_with("several_mistakes");
    let without: Vec<&String> =
        mistakes.iter().filter(of_our_rules).filter(|name| !accepted.contains(*name)).collect();
    assert!(without.is_empty(), "no near-miss in ui/accepted: {without:?}");
    let strangers: Vec<&String> = accepted.difference(&mistakes).collect();
    assert!(strangers.is_empty(), "a near-miss of no mistake: {strangers:?}");
}

fn rustc_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc has compiled this");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn cases_in(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "all")
        .collect()
}
