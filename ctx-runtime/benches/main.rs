//! Measures ctx beside its peers and writes the table into README.md.
//!
//! `context` and `allocations` say what is measured, as [`row::Row`]s; `measure` runs them, the peers in turn; `report`
//! makes the table. What is measured in Go runs in a process of its own, which `go` starts.

mod allocations;
mod context;
mod go;
mod machine;
mod measure;
mod pin;
mod report;
mod row;

use crate::go::Go;
use crate::row::{Peer, Table};
use std::error::Error;
use std::{env, fs};

const USAGE: &str = "\
usage: cargo run --release -- [--repetitions N] [--row TEXT] [--peer NAME]

  --repetitions N  how often each piece of work is measured (101)
  --row TEXT       only the rows whose description contains TEXT
  --peer NAME      only what NAME does, as for a profile: ctx, tokio-util, go, bare

Without --row and --peer the table is also written into README.md.
The peers in Go need a `go` command: $GO, else the one on the PATH.";

struct Options {
    repetitions: usize,
    row: Option<String>,
    peer: Option<String>,
}

impl Options {
    fn from_args() -> Result<Self, String> {
        let mut options = Self { repetitions: 101, row: None, peer: None };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "--repetitions" => {
                    let number = value()?.parse().ok().filter(|&number| number > 0);
                    options.repetitions = number.ok_or("--repetitions needs a number from 1 up")?;
                }
                "--row" => options.row = Some(value()?),
                "--peer" => options.peer = Some(value()?),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    fn select(&self, mut table: Table) -> Table {
        if let Some(text) = &self.row {
            table.rows.retain(|row| row.what.contains(text));
        }
        if let Some(name) = &self.peer {
            for row in &mut table.rows {
                row.entries.retain(|entry| entry.peer.name().eq_ignore_ascii_case(name));
            }
        }
        table.rows.retain(|row| !row.entries.is_empty());
        table
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let mut rows = context::rows();
    rows.extend(allocations::rows());
    let table = Table {
        peers: vec![Peer::Ctx, Peer::TokioUtil, Peer::Go, Peer::Bare],
        ratios: vec![Peer::TokioUtil, Peer::Go],
        rows,
    };
    let table = options.select(table);

    let mut go = Go::start();
    if let Err(why) = &go {
        eprintln!("{why}\n");
    }
    let machine = machine::describe(go.as_ref().ok());
    // Deadlines need a runtime to keep their time; its workers have nothing else to do.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let _inside = runtime.enter();
    let measured = measure::table(table, go.as_mut().ok(), options.repetitions);
    let text = report::markdown(&measured, &machine, options.repetitions);
    println!("{text}");

    if options.row.is_none() && options.peer.is_none() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        fs::write(readme, report::replace(&fs::read_to_string(readme)?, &text)?)?;
    }
    Ok(())
}
