//! What it costs to compile generators: crates that are written, built by cargo, and timed as a whole.

use crate::row::{Goal, Peer, Row, Table};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

/// How many generators the one crate has.
const GENERATORS: usize = 1000;

/// How often each is built, at most: it takes seconds.
const BUILDS: usize = 3;

pub(crate) fn table() -> Table {
    Table {
        title: "What it takes to compile them",
        peers: vec![Peer::Ctx, Peer::AsyncStream],
        ratios: vec![Peer::AsyncStream],
        rows: vec![
            Row::new("1,000 generators in one crate, `cargo check`")
                .batch(1)
                .repeated_at_most(BUILDS)
                .by(Peer::Ctx, |_| Crate::of_ctx().checked())
                .by(Peer::AsyncStream, |_| Crate::of_async_stream().checked())
                .goal(Goal::AtMostTimes(1.15, Peer::AsyncStream)),
            Row::new("1,000 generators in one crate, `cargo build`")
                .batch(1)
                .repeated_at_most(BUILDS)
                .by(Peer::Ctx, |_| Crate::of_ctx().built())
                .by(Peer::AsyncStream, |_| Crate::of_async_stream().built())
                .goal(Goal::AtMostTimes(1.15, Peer::AsyncStream)),
            Row::new("the first build of all, on top of tokio alone")
                .batch(1)
                .repeated_at_most(BUILDS)
                .by(Peer::Ctx, |_| cold(&Crate::with("cold-ctx", &ctx())) - cold_tokio())
                .by(Peer::AsyncStream, |_| {
                    cold(&Crate::with("cold-async-stream", ASYNC_STREAM)) - cold_tokio()
                })
                .goal(Goal::AtMost(1.5e9)),
        ],
    }
}

/// As the README says it, with what the peer's generators need besides.
const TOKIO: &str =
    r#"tokio = { version = "1.51", features = ["macros", "rt-multi-thread", "sync", "time"] }"#;
const ASYNC_STREAM: &str = "async-stream = \"0.3.6\"\n";
const STREAMS: &str = "futures-core = \"0.3.31\"\ntokio-util = \"0.7.16\"\n";

fn ctx() -> String {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the library has this folder");
    format!("ctx-runtime = {{ path = {library:?} }}\n")
}

/// A crate in a folder of its own.
struct Crate {
    folder: PathBuf,
}

impl Crate {
    /// With tokio and these dependencies, and nothing in it.
    fn with(name: &str, dependencies: &str) -> Self {
        let folder = env::temp_dir().join("ctx-benches").join(name);
        fs::create_dir_all(folder.join("src")).expect("there is room for a crate");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{TOKIO}\n{dependencies}\n[workspace]\n"
        );
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let made = Self { folder };
        made.write("Cargo.toml", &manifest);
        made.write("src/lib.rs", "");
        // The same versions of everything.
        fs::copy(here.join("Cargo.lock"), made.folder.join("Cargo.lock")).expect("it is here and goes there");
        made
    }

    fn of_ctx() -> Self {
        let made = Self::with("thousand-ctx", &ctx());
        made.write("src/lib.rs", &thousand("use ctx_runtime::{Context, generator};\n", of_ctx));
        made
    }

    fn of_async_stream() -> Self {
        let made = Self::with("thousand-async-stream", &format!("{ASYNC_STREAM}{STREAMS}"));
        let uses = "use async_stream::stream;\nuse futures_core::Stream;\nuse std::pin::Pin;\n\
                    use tokio_util::sync::CancellationToken;\n";
        made.write("src/lib.rs", &thousand(uses, of_async_stream));
        made
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).expect("the folder is ours");
    }

    fn cargo(&self, command: &str) {
        let output = Command::new(env!("CARGO"))
            .args([command, "--quiet", "--target-dir"])
            .arg(self.folder.join("target"))
            .current_dir(&self.folder)
            // What a shell has set for something else.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .output()
            .expect("cargo has built this program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// How long the crate itself takes, when all that it needs is there.
    fn timed(&self, command: &str) -> f64 {
        // Once, for what it needs; then once more, as if it had changed.
        self.cargo(command);
        let source = fs::read_to_string(self.folder.join("src/lib.rs")).expect("it was written");
        self.write("src/lib.rs", &format!("{source}\n"));
        let start = Instant::now();
        self.cargo(command);
        start.elapsed().as_nanos() as f64
    }

    fn checked(&self) -> f64 {
        self.timed("check")
    }

    fn built(&self) -> f64 {
        self.timed("build")
    }
}

/// How long a crate takes of which nothing is there.
fn cold(made: &Crate) -> f64 {
    let target = made.folder.join("target");
    if target.exists() {
        fs::remove_dir_all(&target).expect("it is ours");
    }
    let start = Instant::now();
    made.cargo("build");
    start.elapsed().as_nanos() as f64
}

fn cold_tokio() -> f64 {
    cold(&Crate::with("cold-tokio", ""))
}

fn thousand(uses: &str, one: fn(usize) -> String) -> String {
    let mut text = uses.to_owned();
    for number in 0..GENERATORS {
        text.push_str(&one(number));
    }
    text
}

/// Four kinds of body, in turn: one that counts, one of `Result`s, one that waits, one that filters.
fn of_ctx(number: usize) -> String {
    let (head, body) = body(number, "yield_!(", ")", "ctx.is_done()");
    let mut text = String::new();
    write!(
        text,
        "#[generator(cancellable)]\npub async fn rows_{number}(ctx: &Context, {head} {{ {body} }}\n"
    )
    .expect("a string takes everything");
    text
}

/// The same, boxed, with the look at a token that makes it end.
fn of_async_stream(number: usize) -> String {
    let (head, body) = body(number, "yield ", "", "token.is_cancelled()");
    let (arguments, item) = head.split_once(") -> ").expect("a function's head");
    let mut text = String::new();
    write!(
        text,
        "pub fn rows_{number}(token: CancellationToken, {arguments}) -> Pin<Box<dyn Stream<Item = {item}> + Send>> {{ \
         Box::pin(stream! {{ {body} }}) }}\n"
    )
    .expect("a string takes everything");
    text
}

/// The arguments with the item, and the body.
fn body(number: usize, yields: &str, ends: &str, is_done: &str) -> (&'static str, String) {
    let step = number % 7 + 1;
    match number % 4 {
        0 => (
            "from: u64) -> u64",
            format!("let mut n = from; while !{is_done} {{ {yields}n{ends}; n += {step}; }}"),
        ),
        1 => (
            "lines: Vec<String>) -> Result<u64, std::num::ParseIntError>",
            format!(
                "for line in lines {{ if {is_done} {{ break; }} \
                 {yields}line.parse::<u64>().map(|n| n + {step}){ends}; }}"
            ),
        ),
        2 => (
            "mut feed: tokio::sync::mpsc::Receiver<u64>) -> u64",
            format!(
                "while let Some(n) = feed.recv().await {{ if {is_done} {{ break; }} {yields}n * {step}{ends}; }}"
            ),
        ),
        _ => (
            "names: Vec<String>) -> String",
            format!(
                "for name in names {{ if {is_done} {{ break; }} \
                 if name.len() > {step} {{ {yields}format!(\"{{name}} {number}\"){ends}; }} }}"
            ),
        ),
    }
}
