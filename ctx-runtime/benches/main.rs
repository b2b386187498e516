//! Measures ctx beside its peers, writes the tables into README.md and draws chart.svg.
//!
//! `context`, `allocations` and `tasks`, for generators `items`, `waits`, `lifecycle`, `memory` and `growth` say what is measured,
//! and `compile` what it takes to build some, as [`row::Row`]s; `measure` runs them, the peers in turn; `report` makes the tables and `chart` the picture. A generator
//! is one of `producers` that makes items of one of `sources` and is emptied by one of `consumers`. What is measured in Go
//! runs in a process of its own, which `go` starts.

mod allocations;
mod chart;
mod compile;
mod consumers;
mod context;
mod go;
mod growth;
mod items;
mod lifecycle;
mod machine;
mod measure;
mod memory;
mod pin;
mod producers;
mod report;
mod row;
mod sources;
mod tasks;
mod waits;

use crate::go::Go;
use crate::row::{Peer, Table};
use std::error::Error;
use std::{env, fs};

const USAGE: &str = "\
usage: cargo run --release -- [--repetitions N] [--table TEXT] [--row TEXT] [--peer NAME]

  --repetitions N  how often each piece of work is measured (101)
  --table TEXT     only the tables whose title contains TEXT
  --row TEXT       only the rows whose description contains TEXT
  --peer NAME      only what NAME does, as for a profile: the head of a column, as ctx, tokio-util or go

Without --table, --row and --peer the tables are also written into README.md, and chart.svg is drawn.
The peers in Go need a `go` command: $GO, else the one on the PATH.";

struct Options {
    repetitions: usize,
    table: Option<String>,
    row: Option<String>,
    peer: Option<String>,
}

impl Options {
    fn from_args() -> Result<Self, String> {
        let mut options = Self { repetitions: 101, table: None, row: None, peer: None };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "--repetitions" => {
                    let number = value()?.parse().ok().filter(|&number| number > 0);
                    options.repetitions = number.ok_or("--repetitions needs a number from 1 up")?;
                }
                "--table" => options.table = Some(value()?),
                "--row" => options.row = Some(value()?),
                "--peer" => options.peer = Some(value()?),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    fn is_for_all(&self) -> bool {
        self.table.is_none() && self.row.is_none() && self.peer.is_none()
    }

    fn select(&self, mut tables: Vec<Table>) -> Vec<Table> {
        if let Some(text) = &self.table {
            tables.retain(|table| table.title.contains(text));
        }
        for table in &mut tables {
            if let Some(text) = &self.row {
                table.rows.retain(|row| row.what.contains(text));
            }
            if let Some(name) = &self.peer {
                for row in &mut table.rows {
                    row.entries.retain(|entry| entry.peer.name().eq_ignore_ascii_case(name));
                }
            }
            table.rows.retain(|row| !row.entries.is_empty());
        }
        tables.retain(|table| !table.rows.is_empty());
        tables
    }
}

fn tables() -> Vec<Table> {
    let mut contexts = context::rows();
    contexts.extend(allocations::rows());
    let mut lives = lifecycle::rows();
    lives.extend(memory::rows());
    let mut tables = vec![Table {
        title: "Contexts",
        peers: vec![Peer::Ctx, Peer::TokioUtil, Peer::Go, Peer::Bare],
        ratios: vec![Peer::TokioUtil, Peer::Go],
        rows: contexts,
    }];
    tables.extend(items::tables());
    tables.push(waits::table());
    tables.push(Table {
        title: "Generators that come and go",
        peers: vec![Peer::Ctx, Peer::ByHand, Peer::Go, Peer::Bare],
        ratios: vec![Peer::ByHand, Peer::Go],
        rows: lives,
    });
    tables.push(growth::table());
    tables.push(tasks::table());
    tables.push(compile::table());
    tables
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    if args.next().is_some_and(|first| first == memory::ARGUMENT) {
        memory::say(args);
    }
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            std::process::exit(2);
        }
    };
    let tables = options.select(tables());

    let mut go = Go::start();
    if let Err(why) = &go {
        eprintln!("{why}\n");
    }
    let machine = machine::describe(go.as_ref().ok());
    // Deadlines need a runtime to keep their time; its workers have nothing else to do.
    let _inside = consumers::multi_thread().enter();
    let measured = tables.into_iter();
    let measured: Vec<_> =
        measured.map(|table| measure::table(table, go.as_mut().ok(), options.repetitions)).collect();
    let text = report::markdown(&measured, &machine, options.repetitions);
    println!("{text}");

    if options.is_for_all() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        fs::write(readme, report::replace(&fs::read_to_string(readme)?, &text)?)?;
        chart::draw(&measured, concat!(env!("CARGO_MANIFEST_DIR"), "/chart.svg"))?;
    }
    Ok(())
}
