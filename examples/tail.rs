//! Prints the lines of a file, and then every line that is written to it.
//!
//! Goes on when the file is truncated, rewritten, or replaced by another one under its name (as log rotation does),
//! until Ctrl-C, or for as long as `--for` says; then it tells why it ended.
//!
//! ```text
//! cargo run --example tail -- FILE [--for DURATION]      a duration is 500ms, 2s, 1m 30s, …
//! ```

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, ErrorKind, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use ctx_runtime::{Context, End, generator};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How often the file is looked at.
///
/// It is polled because that works on every system and every file system, network ones included, where
/// notifications of changes do not; and a look costs one short read.
const INTERVAL: Duration = Duration::from_millis(50);

/// Follows the file at `path` from its beginning, line by line.
///
/// An item is a line with its newline. What stands after the last newline comes as soon as it is written, and the
/// rest of that line as an item of its own: so the end can lose nothing that was written, and no line is too long.
/// The bytes are passed on as they are, and a character of which only the first half is there does no harm.
#[generator(cancellable)]
async fn follow(ctx: &Context, path: PathBuf) -> io::Result<Vec<u8>> {
    let mut file = Followed::open(&path).await?;
    loop {
        // First looks for another file, then reads this one to its end: what was written to it before the other
        // one came is not left behind.
        let successor = file.successor(&path).await?;
        while let Some(text) = file.read_on().await? {
            for line in text.split_inclusive(|&byte| byte == b'\n') {
                yield_!(Ok(line.to_vec()));
            }
        }
        if let Some(successor) = successor {
            if file.is_amid_a_line() {
                yield_!(Ok(b"\n".to_vec()));
            }
            file = successor;
        } else {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// An open file, and how far it has been read.
struct Followed {
    file: File,
    metadata: Metadata,
    position: u64,
    /// The last bytes before `position`. When they are not there any more, the file was truncated or rewritten, and
    /// is read from its beginning. (Its length would not tell: it may have grown again since the last look.)
    mark: Vec<u8>,
}

impl Followed {
    /// How many bytes are read at a time.
    const CHUNK: usize = 64 * 1024;
    /// How many of them are remembered.
    const MARK: usize = 1024;

    async fn open(path: &Path) -> io::Result<Self> {
        // Looked at before it is opened: to open a named pipe would wait for its other end.
        let metadata = fs::metadata(path).await?;
        if metadata.is_dir() {
            return Err(io::Error::new(ErrorKind::IsADirectory, "is a directory"));
        }
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "is not a regular file"));
        }
        let file = File::open(path).await?;
        let metadata = file.metadata().await?;
        Ok(Self { file, metadata, position: 0, mark: Vec::new() })
    }

    /// The file that has taken this one's name, as soon as something is written to it.
    ///
    /// While it is empty its writer may not have turned to it yet, and while there is none it is about to be made.
    async fn successor(&self, path: &Path) -> io::Result<Option<Self>> {
        let opened = match fs::metadata(path).await {
            Ok(found) if found.len() == 0 || is_same_file(&found, &self.metadata) => return Ok(None),
            Ok(_) => Self::open(path).await.map(Some),
            Err(error) => Err(error),
        };
        opened.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) })
    }

    /// The next piece of what is in the file, `None` when everything was read.
    async fn read_on(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // The mark and what comes after it in one go: a truncation between two reads would go unseen.
            let from = self.position - self.mark.len() as u64;
            let limit = self.mark.len() + Self::CHUNK;
            let mut text = Vec::with_capacity(limit);
            self.file.seek(SeekFrom::Start(from)).await?;
            (&mut self.file).take(limit as u64).read_to_end(&mut text).await?;

            if text.starts_with(&self.mark) {
                text.drain(..self.mark.len());
                self.position += text.len() as u64;
                self.mark.extend_from_slice(&text);
                self.mark.drain(..self.mark.len().saturating_sub(Self::MARK));
                return Ok(Some(text).filter(|text| !text.is_empty()));
            }
            let amid_a_line = self.is_amid_a_line();
            self.position = 0;
            self.mark.clear();
            if amid_a_line {
                return Ok(Some(b"\n".to_vec()));
            }
        }
    }

    /// Whether what was read last was the beginning of a line.
    fn is_amid_a_line(&self) -> bool {
        self.mark.last().is_some_and(|&byte| byte != b'\n')
    }
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    a.created().ok() == b.created().ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    let (path, limit) = match arguments(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("tail: {mistake}\nusage: tail FILE [--for DURATION]");
            return ExitCode::from(2);
        }
    };
    match print(path, limit).await {
        Ok(end) => {
            eprintln!("tail: {end}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tail: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is written to the file until the time is over, Ctrl-C is pressed, or nobody reads it.
async fn print(path: PathBuf, limit: Option<Duration>) -> Result<End, String> {
    let (ctx, stop) = Context::background().with_cancel();
    let limited = limit.map_or_else(|| ctx.clone(), |limit| ctx.with_timeout(limit));
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut lines = follow(&limited, path.clone());
    let mut output = io::stdout().lock();
    loop {
        tokio::select! {
            _ = &mut interrupt, if !ctx.is_done() => stop.cancel_with("interrupted"),
            line = lines.next() => match line {
                Some(Ok(line)) => match output.write_all(&line).and_then(|()| output.flush()) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => stop.cancel_with("nobody reads the output"),
                    written => written.map_err(|error| format!("standard output: {error}"))?,
                },
                Some(Err(error)) => return Err(format!("{}: {error}", path.display())),
                None => return Ok(lines.stop().await),
            },
        }
    }
}

fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<(PathBuf, Option<Duration>), String> {
    let (mut path, mut limit) = (None, None);
    while let Some(argument) = given.next() {
        if argument == "--for" {
            let value = given.next().ok_or("`--for` needs a duration, such as 2s")?;
            let value = value.to_string_lossy();
            let duration =
                humantime::parse_duration(&value).map_err(|error| format!("`--for {value}`: {error}"))?;
            limit = Some(duration);
        } else if argument.to_string_lossy().starts_with("--") {
            return Err(format!("unknown option `{}`", argument.to_string_lossy()));
        } else if path.replace(PathBuf::from(argument)).is_some() {
            return Err("one file at a time".to_owned());
        }
    }
    Ok((path.ok_or("which file?")?, limit))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ctx_runtime::{ContextError, Generator};
    use tempfile::TempDir;

    use super::*;

    /// A file that is followed, and a writer that knows what must arrive.
    struct Log {
        folder: TempDir,
        lines: Generator<io::Result<Vec<u8>>>,
    }

    impl Log {
        fn holding(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("log"), text).unwrap();
            let lines = follow(&Context::background(), folder.path().join("log"));
            Self { folder, lines }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn append(&self, text: impl AsRef<[u8]>) {
            fs::OpenOptions::new().append(true).open(self.path()).unwrap().write_all(text.as_ref()).unwrap();
        }

        /// Waits until as many bytes have come as `expected` has, and compares them.
        async fn expect(&mut self, expected: impl AsRef<[u8]>) {
            let expected = expected.as_ref();
            let mut come = Vec::new();
            while come.len() < expected.len() {
                let next = tokio::time::timeout(Duration::from_secs(30), self.lines.next()).await;
                let Ok(item) = next else { panic!("only {:?} came", String::from_utf8_lossy(&come)) };
                let item = item.expect("the end").unwrap();
                assert!(!item[..item.len() - 1].contains(&b'\n'), "more than a line in one item");
                come.extend(item);
            }
            assert_eq!(String::from_utf8_lossy(&come), String::from_utf8_lossy(expected));
        }
    }

    #[tokio::test]
    async fn lines_come_once_and_in_order_as_they_are_written() {
        let mut log = Log::holding("");
        let lines: Vec<_> = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let written = lines.concat();
        let mut file = fs::OpenOptions::new().append(true).open(log.path()).unwrap();
        let writer =
            std::thread::spawn(move || lines.iter().try_for_each(|line| file.write_all(line.as_bytes())));
        log.expect(written).await;
        writer.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_line_that_is_written_in_pieces_comes_in_pieces() {
        let mut log = Log::holding("");
        let (first, rest) = "Grüße\n".as_bytes().split_at(3);
        log.append(first);
        log.expect(first).await;
        log.append(rest);
        log.expect(rest).await;
    }

    #[tokio::test]
    async fn a_line_longer_than_what_is_read_at_a_time_comes_whole() {
        let long = "x".repeat(3 * Followed::CHUNK + 1) + "\nnext\n";
        Log::holding(&long).expect(&long).await;
    }

    #[tokio::test]
    async fn a_truncated_file_is_read_from_its_beginning() {
        let mut log = Log::holding("one\ntwo\n");
        log.expect("one\ntwo\n").await;
        fs::write(log.path(), "").unwrap();
        log.append("three\n");
        log.expect("three\n").await;
    }

    #[tokio::test]
    async fn a_rewritten_file_is_noticed_also_when_it_is_as_long_as_before_or_longer() {
        let mut log = Log::holding("one\n");
        log.expect("one\n").await;
        fs::write(log.path(), "two\n").unwrap();
        log.expect("two\n").await;
        fs::write(log.path(), "three\nfour\n").unwrap();
        log.expect("three\nfour\n").await;
    }

    #[tokio::test]
    async fn a_truncation_ends_the_line_that_it_cuts() {
        let mut log = Log::holding("one\nbegun");
        log.expect("one\nbegun").await;
        fs::write(log.path(), "two\n").unwrap();
        log.expect("\ntwo\n").await;
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_is_read_to_its_end_and_then_its_successor() {
        let mut log = Log::holding("one\n");
        log.expect("one\n").await;
        let moved = log.folder.path().join("log.1");
        fs::rename(log.path(), &moved).unwrap();
        fs::OpenOptions::new().append(true).open(&moved).unwrap().write_all(b"two\n").unwrap();
        log.expect("two\n").await;
        fs::OpenOptions::new().append(true).open(&moved).unwrap().write_all(b"three\n").unwrap();
        fs::write(log.path(), "four\n").unwrap();
        log.expect("three\nfour\n").await;
    }

    #[tokio::test]
    async fn a_missing_file_and_a_folder_are_errors_that_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let missing = print(folder.path().join("missing"), None).await.unwrap_err();
        assert!(missing.ends_with("missing: No such file or directory (os error 2)"), "{missing}");
        let not_a_file = print(folder.path().to_owned(), None).await.unwrap_err();
        assert!(not_a_file.ends_with(": is a directory"), "{not_a_file}");
    }

    #[tokio::test]
    async fn the_time_limit_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "").unwrap();
        let end = print(path, Some(Duration::from_millis(10))).await.unwrap();
        let End::Cancelled(cause) = end else { panic!("{end}") };
        assert_eq!(cause.kind(), ContextError::DeadlineExceeded);
    }

    #[test]
    fn the_arguments_come_in_any_order_and_mistakes_are_named() {
        let parse = |line: &str| arguments(line.split_whitespace().map(OsString::from));
        let two_seconds = Some(Duration::from_secs(2));
        assert_eq!(parse("log"), Ok(("log".into(), None)));
        assert_eq!(parse("log --for 2s"), Ok(("log".into(), two_seconds)));
        assert_eq!(parse("--for 2s log"), Ok(("log".into(), two_seconds)));
        for (line, mistake) in [
            ("", "which file?"),
            ("a b", "one file at a time"),
            ("log --follow", "unknown option `--follow`"),
            ("log --for", "`--for` needs a duration, such as 2s"),
        ] {
            assert_eq!(parse(line), Err(mistake.to_owned()));
        }
        assert!(parse("log --for ever").unwrap_err().starts_with("`--for ever`: "));
    }
}
