//! A directory walker: code that blocks, on a thread of its own, as a generator.
//!
//! Walks the folder that it is given (or the current one), and prints how much is in it, and the largest files. With a number
//! after the folder it stops at so many entries: the walk then ends too, and reads no further.
//!
//! ```text
//! cargo run --release --example walk -- /usr
//! cargo run --release --example walk -- /usr 1000
//! ```

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ctx_runtime::{Context, generator};

/// What the walk has found.
struct Entry {
    path: PathBuf,
    metadata: Metadata,
}

/// Everything below `root`, a folder before what is in it. What cannot be read is an error among the entries, with its path, and
/// the walk goes on. Links are not followed.
#[generator(cancellable, blocking, buffer = 64)]
fn walk(ctx: &Context, root: PathBuf) -> io::Result<Entry> {
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                yield_!(Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display()))));
                continue;
            }
        };
        for entry in entries {
            let found = entry.and_then(|entry| {
                let metadata = entry.metadata()?;
                Ok(Entry { path: entry.path(), metadata })
            });
            if let Ok(entry) = &found
                && entry.metadata.is_dir()
            {
                folders.push(entry.path.clone());
            }
            yield_!(found);
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    files: u64,
    folders: u64,
    bytes: u64,
    errors: u64,
    /// The largest files, with their sizes.
    largest: BTreeSet<(u64, PathBuf)>,
}

/// Takes what the walk finds, up to `limit` entries.
async fn summary(ctx: &Context, root: PathBuf, limit: usize) -> Summary {
    const LARGEST: usize = 5;

    let mut entries = walk(ctx, root);
    let mut summary = Summary::default();
    for _ in 0..limit {
        let Some(entry) = entries.next().await else { break };
        match entry {
            Ok(entry) if entry.metadata.is_dir() => summary.folders += 1,
            Ok(entry) => {
                summary.files += 1;
                summary.bytes += entry.metadata.len();
                summary.largest.insert((entry.metadata.len(), entry.path));
                if summary.largest.len() > LARGEST {
                    summary.largest.pop_first();
                }
            }
            Err(error) => {
                summary.errors += 1;
                eprintln!("{error}");
            }
        }
    }
    summary
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let root = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let limit = match arguments.next().map(|limit| limit.to_string_lossy().parse()) {
        None => usize::MAX,
        Some(Ok(limit)) => limit,
        Some(Err(error)) => {
            eprintln!("the number of entries to stop at: {error}\nusage: walk [FOLDER [ENTRIES]]");
            return ExitCode::FAILURE;
        }
    };
    let summary = summary(&Context::background(), root, limit).await;
    println!("{} files, {} folders, {} bytes", summary.files, summary.folders, summary.bytes);
    for (bytes, path) in summary.largest.iter().rev() {
        println!("{bytes:>14}  {}", path.display());
    }
    if summary.errors > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred folders of a thousand files, of one to nine bytes.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in 0..100 {
            let folder = root.path().join(format!("folder-{folder}"));
            fs::create_dir(&folder).unwrap();
            for file in 0..1000 {
                fs::write(folder.join(format!("file-{file}")), &b"123456789"[..=file % 9]).unwrap();
            }
        }
        root
    }

    #[tokio::test]
    async fn a_tree_of_a_hundred_thousand_files_is_walked_to_its_end_and_left_in_the_middle() {
        let root = tree();
        let (ctx, stop) = Context::background().with_cancel();
        let bytes = 100 * (0..1000).map(|file| 1 + file % 9).sum::<u64>();
        let all = summary(&ctx, root.path().to_owned(), usize::MAX).await;
        assert_eq!((all.files, all.folders, all.bytes, all.errors), (100_000, 100, bytes, 0));
        assert_eq!(all.largest.len(), 5);
        assert!(all.largest.iter().all(|&(bytes, _)| bytes == 9));

        let some = summary(&ctx, root.path().to_owned(), 1000).await;
        assert_eq!(some.files + some.folders, 1000);
        // The thread that nobody listens to any more is gone, or goes.
        stop.cancel_and_wait().await;
        assert!(ctx.live().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("missing");
        let mut entries = walk(&Context::background(), missing.clone());
        let error = entries.next().await.unwrap().err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
        assert!(entries.next().await.is_none());
    }
}
