//! What people write with async-stream, written with `#[generator]`: the everyday streams of a program, each with a test of its
//! items.
//!
//! They are here to be read as much as to be run: each is what one would write who knows the attribute and nothing else of
//! the library. What needs a context takes one; what only shapes the items of another stream is `inline`, and so asks for neither
//! `Send` nor `'static`.

use ctx_runtime::{Context, Generator, generator};
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt, TryStreamExt};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Each item at its time, in milliseconds after the first was asked for.
#[generator]
async fn timed<T: Send + 'static>(
    items: impl IntoIterator<Item = (u64, T), IntoIter: Send> + Send + 'static,
) -> T {
    let start = Instant::now();
    for (after, item) in items {
        sleep_until(start + millis(after)).await;
        yield_!(item);
    }
}

/// The items with the milliseconds after which each came.
async fn with_times<T>(items: impl Stream<Item = T>) -> Vec<(u128, T)> {
    let start = Instant::now();
    items.map(|item| (start.elapsed().as_millis(), item)).collect().await
}

/// What is fetched piece by piece, and from what may fail.
#[allow(clippy::unused_async, reason = "these servers have their answers ready")]
mod fetching {
    use super::*;
    use std::collections::HashMap;
    use tokio::sync::mpsc;

    /// A server with the rows `0..self.rows`, of which it sends three at a time.
    struct Server {
        rows: u64,
    }

    struct Page {
        rows: Vec<u64>,
        next: Option<u64>,
    }

    impl Server {
        async fn page_after(&self, cursor: Option<u64>) -> io::Result<Page> {
            let first = cursor.unwrap_or(0);
            let end = self.rows.min(first + 3);
            Ok(Page { rows: (first..end).collect(), next: (end < self.rows).then_some(end) })
        }

        async fn page(&self, number: u64) -> io::Result<Vec<u64>> {
            match number {
                9 => Err(io::ErrorKind::NotFound.into()),
                _ => Ok((number * 3..self.rows.min(number * 3 + 3)).collect()),
            }
        }

        /// The rows from a page on, until a page is empty.
        #[generator(inline)]
        async fn rows_from(&self, first_page: u64) -> io::Result<u64> {
            for number in first_page.. {
                let rows = self.page(number).await?;
                if rows.is_empty() {
                    return;
                }
                for row in rows {
                    yield_!(Ok(row));
                }
            }
        }
    }

    /// All rows, the next page fetched while the consumer is busy with this one.
    #[generator(cancellable, buffer = 3)]
    async fn rows(ctx: &Context, server: Server) -> io::Result<u64> {
        let mut cursor = None;
        loop {
            let page = server.page_after(cursor).await?;
            for row in page.rows {
                yield_!(Ok(row));
            }
            if page.next.is_none() {
                return;
            }
            cursor = page.next;
        }
    }

    #[ctx_runtime::test]
    async fn pages_by_cursor(ctx: Context) {
        let rows = rows(&ctx, Server { rows: 7 });
        assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn pages_by_number() {
        let server = Server { rows: 7 };
        assert_eq!(server.rows_from(1).try_collect::<Vec<_>>().await.unwrap(), [3, 4, 5, 6]);
        assert!(server.rows_from(9).next().await.unwrap().is_err());
    }

    /// A server that is busy the first times that it is asked for a word.
    struct Busy {
        times: HashMap<&'static str, u32>,
    }

    impl Busy {
        async fn look_up(&mut self, word: &'static str) -> io::Result<usize> {
            match self.times.get_mut(word) {
                Some(times @ 1..) => {
                    *times -= 1;
                    Err(io::ErrorKind::ResourceBusy.into())
                }
                _ => Ok(word.len()),
            }
        }
    }

    /// What the server has for each word, asked again after a pause, and one twice as long, and so on, for a second at the most.
    #[generator(cancellable)]
    async fn looked_up(ctx: &Context, mut server: Busy, words: Vec<&'static str>) -> io::Result<usize> {
        for word in words {
            let mut pause = millis(100);
            let found = loop {
                match server.look_up(word).await {
                    Err(_) if pause < millis(1_000) => sleep(pause).await,
                    found => break found?,
                }
                pause *= 2;
            };
            yield_!(Ok(found));
        }
    }

    #[ctx_runtime::test(start_paused = true)]
    async fn retry_with_backoff(ctx: Context) {
        let server = Busy { times: HashMap::from([("three", 2), ("never", 9)]) };
        let found = looked_up(&ctx, server, vec!["one", "three", "never", "four"]);
        let found = with_times(found.map_err(|error| error.kind())).await;
        assert_eq!(found, [(0, Ok(3)), (300, Ok(5)), (300 + 1_500, Err(io::ErrorKind::ResourceBusy))],);
    }

    /// A broker whose connections bring two events each.
    struct Broker {
        connections: u64,
    }

    impl Broker {
        /// Every other time it is not to be reached.
        async fn subscribe(&mut self, after: u64) -> io::Result<mpsc::Receiver<u64>> {
            self.connections += 1;
            if self.connections.is_multiple_of(2) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (events, subscription) = mpsc::channel(2);
            for event in [after + 1, after + 2] {
                events.try_send(event).map_err(io::Error::other)?;
            }
            Ok(subscription)
        }
    }

    /// The events of a broker, over as many connections as it takes.
    #[generator(cancellable)]
    async fn events(ctx: &Context, mut broker: Broker) -> u64 {
        let mut seen = 0;
        loop {
            let Ok(mut subscription) = broker.subscribe(seen).await else {
                sleep(millis(500)).await;
                continue;
            };
            while let Some(event) = subscription.recv().await {
                seen = event;
                yield_!(event);
            }
        }
    }

    #[ctx_runtime::test(start_paused = true)]
    async fn a_subscription_that_reconnects(ctx: Context) {
        let events = events(&ctx, Broker { connections: 0 }).take(5);
        assert_eq!(with_times(events).await, [(0, 1), (0, 2), (500, 3), (500, 4), (1_000, 5)]);
    }

    /// A database that writes down what it is told.
    #[derive(Clone, Default)]
    struct Database(Arc<Mutex<Vec<String>>>);

    struct Cursor {
        database: Database,
        row: u64,
    }

    impl Database {
        fn told(&self, what: impl Into<String>) {
            self.0.lock().unwrap().push(what.into());
        }

        async fn open(&self, query: &str) -> io::Result<Cursor> {
            self.told(query);
            Ok(Cursor { database: self.clone(), row: 0 })
        }
    }

    impl Cursor {
        async fn fetch(&mut self) -> io::Result<Option<u64>> {
            self.row += 1;
            Ok(Some(self.row))
        }

        async fn close(self) {
            tokio::task::yield_now().await; // a word to the server
            self.database.told(format!("closed at row {}", self.row));
        }
    }

    /// The rows that a query finds. Its cursor is closed whatever ends it.
    #[generator(cancellable, grace = Duration::from_secs(1), name = "query")]
    async fn found(ctx: &Context, database: Database, query: &'static str) -> io::Result<u64> {
        let cursor = database.open(query).await?;
        let mut cursor = defer!(cursor, async |cursor: Cursor| cursor.close().await);
        while let Some(row) = cursor.fetch().await? {
            yield_!(Ok(row));
        }
    }

    #[ctx_runtime::test]
    async fn a_database_s_cursor(ctx: Context) {
        let database = Database::default();
        let (below, stop) = ctx.with_cancel();
        let mut rows = found(&below, database.clone(), "select");
        assert_eq!(rows.name(), "query");
        assert_eq!(rows.next().await.transpose().unwrap(), Some(1));
        assert_eq!(rows.next().await.transpose().unwrap(), Some(2));
        stop.cancel_and_wait().await;
        assert_eq!(*database.0.lock().unwrap(), ["select", "closed at row 2"]);
    }

    /// The answers to all questions as they come, with so many asked at a time.
    #[generator(cancellable)]
    async fn answers<A, F>(
        ctx: &Context,
        questions: impl Stream<Item = u64> + Send + 'static,
        at_a_time: usize,
        ask: impl Fn(u64) -> F + Send + 'static,
    ) -> A
    where
        A: Send + 'static,
        F: Future<Output = A> + Send + 'static,
    {
        let mut questions = pin!(questions.fuse());
        let mut asked = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(question) = questions.next(), if asked.len() < at_a_time => asked.push(ask(question)),
                Some(answer) = asked.next() => yield_!(answer),
                else => return,
            }
        }
    }

    #[ctx_runtime::test(start_paused = true)]
    async fn fan_in_of_so_many_workers(ctx: Context) {
        let work = |takes| async move {
            sleep(millis(takes)).await;
            takes
        };
        let answers = answers(&ctx, stream::iter([40, 10, 20, 30]), 2, work);
        assert_eq!(with_times(answers).await, [(10, 10), (30, 20), (40, 40), (60, 30)]);
    }
}

/// What is read from bytes.
mod reading {
    use super::*;
    use std::error::Error;
    use std::io::BufRead;
    use std::path::PathBuf;
    use tokio::fs;

    /// The lines of whatever can be read.
    #[generator(inline)]
    async fn lines(reader: impl AsyncBufRead + Unpin) -> io::Result<String> {
        let mut lines = reader.lines();
        while let Some(line) = lines.next_line().await? {
            yield_!(Ok(line));
        }
    }

    #[tokio::test]
    async fn lines_of_a_reader() {
        let lines = lines(&b"one\ntwo\n\nlast"[..]);
        assert_eq!(lines.try_collect::<Vec<_>>().await.unwrap(), ["one", "two", "", "last"]);
    }

    /// Frames that each come after their length, from a connection that is the caller's.
    #[generator(cancellable, inline)]
    async fn frames(ctx: &Context, connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        loop {
            let length = match connection.read_u16().await {
                Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return,
                length => length?,
            };
            let mut frame = vec![0; length.into()];
            connection.read_exact(&mut frame).await?;
            yield_!(Ok(frame));
        }
    }

    #[tokio::test]
    async fn frames_of_a_byte_stream() {
        let mut bytes = &b"\0\x03one\0\0\0\x05three\0\x04cut"[..];
        let mut frames = frames(&Context::background(), &mut bytes);
        assert_eq!(frames.next().await.unwrap().unwrap(), b"one");
        assert_eq!(frames.next().await.unwrap().unwrap(), b"");
        assert_eq!(frames.next().await.unwrap().unwrap(), b"three");
        assert_eq!(frames.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(frames.next().await.is_none());
    }

    /// The words of an answer that a language model sends as server-sent events.
    #[generator(cancellable)]
    async fn words(ctx: &Context, answer: impl AsyncBufRead + Unpin + Send + 'static) -> io::Result<String> {
        let mut lines = answer.lines();
        while let Some(line) = lines.next_line().await? {
            match line.strip_prefix("data: ") {
                Some("[DONE]") => return,
                Some(word) => yield_!(Ok(word.to_owned())),
                None => {} // a comment, the name of an event, or what stands between two
            }
        }
        return Err(io::ErrorKind::UnexpectedEof.into());
    }

    #[ctx_runtime::test]
    async fn words_of_a_language_model(ctx: Context) {
        let whole = b": hello\n\nevent: word\ndata: To\n\ndata: be\n\ndata: [DONE]\n\ndata: more\n";
        assert_eq!(words(&ctx, &whole[..]).try_collect::<Vec<_>>().await.unwrap(), ["To", "be"]);
        let mut cut = words(&ctx, &b"data: To\n"[..]);
        assert_eq!(cut.next().await.unwrap().unwrap(), "To");
        assert_eq!(cut.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[derive(Debug, PartialEq)]
    struct Order {
        name: String,
        pieces: u32,
    }

    /// An order a line; what is wrong with a line, or with the reader, ends them.
    #[generator(inline)]
    async fn orders(reader: impl AsyncBufRead + Unpin) -> Result<Order, Box<dyn Error>> {
        let mut lines = reader.lines();
        while let Some(line) = lines.next_line().await? {
            let (name, pieces) = line.split_once(' ').ok_or("it takes a name and a number")?;
            yield_!(Ok(Order { name: name.to_owned(), pieces: pieces.parse()? }));
        }
    }

    #[tokio::test]
    async fn what_may_fail_in_many_ways() {
        let mut found = orders(&b"pen 3\npen"[..]);
        assert_eq!(found.next().await.unwrap().unwrap(), Order { name: "pen".to_owned(), pieces: 3 });
        assert_eq!(found.next().await.unwrap().unwrap_err().to_string(), "it takes a name and a number");
        assert!(found.next().await.is_none());
        let mut found = orders(&b"pen many\npen 3"[..]);
        assert_eq!(found.next().await.unwrap().unwrap_err().to_string(), "invalid digit found in string");
        assert!(found.next().await.is_none());
    }

    /// All files in a folder and in those below it.
    #[generator(cancellable)]
    async fn files(ctx: &Context, folder: PathBuf) -> io::Result<PathBuf> {
        let mut entries = fs::read_dir(folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_type().await?.is_dir() {
                yield_all!(files(ctx, entry.path()));
            } else {
                yield_!(Ok(entry.path()));
            }
        }
    }

    #[ctx_runtime::test]
    async fn a_walk_through_folders(ctx: Context) {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/ui"));
        let found: BTreeSet<_> = files(&ctx, root.clone()).try_collect().await.unwrap();
        assert!(found.contains(&root.join("bare_yield.rs")));
        assert!(found.contains(&root.join("accepted/bare_yield.rs")));
        let mut missing = files(&ctx, root.join("nowhere"));
        assert_eq!(missing.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(missing.next().await.is_none());
    }

    /// The records of a file, parsed on a thread of its own, up to sixteen ahead.
    #[generator(blocking, buffer = 16)]
    fn records(file: impl BufRead + Send + 'static) -> io::Result<Vec<String>> {
        for line in file.lines() {
            yield_!(Ok(line?.split(';').map(str::to_owned).collect()));
        }
    }

    #[tokio::test]
    async fn a_parser_that_blocks() {
        let records = records(&b"a;b\nc\n"[..]);
        assert_eq!(records.try_collect::<Vec<_>>().await.unwrap(), [vec!["a", "b"], vec!["c"]]);
    }
}

/// What is looked at again and again, or tells when it has changed.
mod watching {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::sync::{Notify, watch};
    use tokio::task::LocalSet;

    #[derive(Debug, PartialEq)]
    enum Change {
        Came(u64),
        Went(u64),
    }

    /// Who comes to a list and goes from it, seen every so often.
    #[generator(cancellable)]
    async fn changes(ctx: &Context, list: Arc<Mutex<BTreeSet<u64>>>, period: Duration) -> Change {
        let mut clock = interval(period);
        let mut known = BTreeSet::new();
        loop {
            clock.tick().await;
            let seen = list.lock().unwrap().clone();
            for came in seen.difference(&known) {
                yield_!(Change::Came(*came));
            }
            for went in known.difference(&seen) {
                yield_!(Change::Went(*went));
            }
            known = seen;
        }
    }

    #[ctx_runtime::test(start_paused = true)]
    async fn changes_of_what_is_polled(ctx: Context) {
        let list = Arc::new(Mutex::new(BTreeSet::from([1, 2])));
        let mut changes = changes(&ctx, Arc::clone(&list), millis(100));
        assert_eq!(changes.next().await, Some(Change::Came(1)));
        assert_eq!(changes.next().await, Some(Change::Came(2)));
        *list.lock().unwrap() = BTreeSet::from([2, 3]);
        assert_eq!(changes.next().await, Some(Change::Came(3)));
        assert_eq!(changes.next().await, Some(Change::Went(1)));
        assert!(timeout(millis(5_000), changes.next()).await.is_err());
    }

    /// A value now, and whenever it has changed, while somebody can change it.
    #[generator(cancellable)]
    async fn values<T: Clone + Send + Sync + 'static>(ctx: &Context, mut value: watch::Receiver<T>) -> T {
        loop {
            yield_!(value.borrow_and_update().clone());
            if value.changed().await.is_err() {
                return;
            }
        }
    }

    #[ctx_runtime::test]
    async fn values_of_a_watch(ctx: Context) {
        let (sender, receiver) = watch::channel("off");
        let mut values = values(&ctx, receiver);
        assert_eq!(values.next().await, Some("off"));
        sender.send("dim").unwrap();
        sender.send("on").unwrap();
        assert_eq!(values.next().await, Some("on"));
        drop(sender);
        assert_eq!(values.next().await, None);
    }

    /// What a sensor measures, of which a consumer that is late gets the latest.
    #[generator(buffer = 1, overflow = drop_oldest)]
    async fn measured<T: Send + 'static>(sensor: impl Fn() -> T + Send + 'static, period: Duration) -> T {
        let mut clock = interval(period);
        loop {
            clock.tick().await;
            yield_!(sensor());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_of_what_is_polled() {
        let start = Instant::now();
        let mut measured = measured(move || start.elapsed().as_millis(), millis(100));
        assert_eq!(measured.next().await, Some(0));
        assert_eq!(measured.next().await, Some(100));
        sleep(millis(1_050)).await;
        assert_eq!(measured.next().await, Some(1_100));
        assert_eq!(measured.dropped(), 9);
    }

    /// A field of a form, which lives on one thread.
    #[derive(Default)]
    struct Field {
        text: RefCell<Rc<str>>,
        edited: Notify,
    }

    impl Field {
        fn edit(&self, text: &str) {
            self.text.replace(text.into());
            self.edited.notify_one();
        }
    }

    /// What is in a field, whenever somebody has edited it.
    #[generator(cancellable, local)]
    async fn texts(ctx: &Context, field: Rc<Field>) -> Rc<str> {
        loop {
            field.edited.notified().await;
            yield_!(Rc::clone(&field.text.borrow()));
        }
    }

    #[ctx_runtime::test]
    async fn texts_of_a_form(ctx: Context) {
        let edits = async {
            let field = Rc::new(Field::default());
            let mut texts = texts(&ctx, Rc::clone(&field));
            for text in ["a", "ab"] {
                field.edit(text);
                assert_eq!(texts.next().await.as_deref(), Some(text));
            }
        };
        LocalSet::new().run_until(edits).await;
    }
}

/// What is made of the items of another stream.
mod shaping {
    use super::*;

    /// The items without those that are the same as the one before.
    #[generator(inline)]
    async fn deduplicated<T: Clone + PartialEq>(items: impl Stream<Item = T>) -> T {
        let mut items = pin!(items);
        let mut last = None;
        while let Some(item) = items.next().await {
            if last.as_ref() != Some(&item) {
                last = Some(item.clone());
                yield_!(item);
            }
        }
    }

    #[tokio::test]
    async fn without_repetitions() {
        let items = deduplicated(stream::iter(["a", "a", "b", "a", "a"]));
        assert_eq!(items.collect::<Vec<_>>().await, ["a", "b", "a"]);
    }

    /// The items in chunks of `size`; the last one has what is left.
    #[generator(inline)]
    async fn chunks<T>(items: impl Stream<Item = T>, size: usize) -> Vec<T> {
        let mut items = pin!(items);
        let mut chunk = Vec::new();
        while let Some(item) = items.next().await {
            chunk.push(item);
            if chunk.len() == size {
                yield_!(mem::take(&mut chunk));
            }
        }
        if !chunk.is_empty() {
            yield_!(chunk);
        }
    }

    #[tokio::test]
    async fn chunks_by_size() {
        let chunks = chunks(stream::iter(1..=5), 2);
        assert_eq!(chunks.collect::<Vec<_>>().await, [vec![1, 2], vec![3, 4], vec![5]]);
    }

    /// The items in batches of at most `size`, none of which waits longer than `patience` for its last one.
    #[generator(inline)]
    async fn batches<T>(items: impl Stream<Item = T>, size: usize, patience: Duration) -> Vec<T> {
        let mut items = pin!(items);
        while let Some(first) = items.next().await {
            let mut batch = vec![first];
            let deadline = Instant::now() + patience;
            while batch.len() < size {
                tokio::select! {
                    biased;
                    Some(item) = items.next() => batch.push(item),
                    () = sleep_until(deadline) => break,
                    else => break,
                }
            }
            yield_!(batch);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_by_size_and_time() {
        let items = timed([(0, 1), (10, 2), (20, 3), (30, 4), (200, 5), (210, 6)]);
        let batches = with_times(batches(items, 3, millis(50))).await;
        assert_eq!(batches, [(20, vec![1, 2, 3]), (80, vec![4]), (250, vec![5, 6])]);
    }

    /// Each item with those before it, `size` in all.
    #[generator(inline)]
    async fn windows<T: Clone>(items: impl Stream<Item = T>, size: usize) -> Vec<T> {
        let mut items = pin!(items);
        let mut window = VecDeque::with_capacity(size);
        while let Some(item) = items.next().await {
            window.push_back(item);
            if window.len() == size {
                yield_!(window.iter().cloned().collect());
                window.pop_front();
            }
        }
    }

    #[tokio::test]
    async fn windows_that_slide() {
        let windows = windows(stream::iter(1..=4), 3);
        assert_eq!(windows.collect::<Vec<_>>().await, [[1, 2, 3], [2, 3, 4]]);
    }

    /// What follows one another and is the same to `is_same`, together: a slice's `chunk_by`.
    #[generator(inline)]
    async fn groups<T>(items: impl Stream<Item = T>, is_same: impl Fn(&T, &T) -> bool) -> Vec<T> {
        let mut items = pin!(items);
        let mut group = Vec::new();
        while let Some(item) = items.next().await {
            if group.last().is_some_and(|last| !is_same(last, &item)) {
                yield_!(mem::take(&mut group));
            }
            group.push(item);
        }
        if !group.is_empty() {
            yield_!(group);
        }
    }

    #[tokio::test]
    async fn groups_of_what_follows_one_another() {
        let groups = groups(stream::iter([1, 3, 2, 4, 6, 5]), |a, b| a % 2 == b % 2);
        assert_eq!(groups.collect::<Vec<_>>().await, [vec![1, 3], vec![2, 4, 6], vec![5]]);
    }

    /// The items, one a `period` at the most.
    #[generator(inline)]
    async fn paced<T>(items: impl Stream<Item = T>, period: Duration) -> T {
        let mut items = pin!(items);
        let mut clock = interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(item) = items.next().await {
            clock.tick().await;
            yield_!(item);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limited_rate() {
        let items = timed([(0, 1), (0, 2), (0, 3), (900, 4), (901, 5)]);
        let paced = with_times(paced(items, millis(100))).await;
        assert_eq!(paced, [(0, 1), (100, 2), (200, 3), (900, 4), (1_000, 5)]);
    }

    /// The last of the items that come with less than `quiet` between them.
    #[generator(inline)]
    async fn debounced<T>(items: impl Stream<Item = T>, quiet: Duration) -> T {
        let mut items = pin!(items.fuse());
        while let Some(mut latest) = items.next().await {
            while let Ok(Some(newer)) = timeout(quiet, items.next()).await {
                latest = newer;
            }
            yield_!(latest);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bouncing_key() {
        let keys = timed([(0, 'a'), (10, 'b'), (20, 'c'), (300, 'd'), (310, 'e')]);
        assert_eq!(with_times(debounced(keys, millis(50))).await, [(70, 'c'), (310, 'e')]);
    }

    /// The items, and `None` whenever there was none for a `period`.
    #[generator(inline)]
    async fn with_heartbeat<T>(items: impl Stream<Item = T>, period: Duration) -> Option<T> {
        let mut items = pin!(items);
        loop {
            match timeout(period, items.next()).await {
                Ok(None) => return,
                Ok(item) => yield_!(item),
                Err(_) => yield_!(None),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_where_it_is_quiet() {
        let items = timed([(0, "a"), (40, "b"), (250, "c")]);
        let items = with_times(with_heartbeat(items, millis(100))).await;
        assert_eq!(items, [(0, Some("a")), (40, Some("b")), (140, None), (240, None), (250, Some("c"))]);
    }
}

/// What is made of nothing, or of two.
mod combining {
    use super::*;

    /// Each number the sum of the two before.
    #[generator]
    async fn fibonacci() -> u64 {
        let (mut a, mut b) = (0, 1);
        loop {
            yield_!(a);
            (a, b) = (b, a + b);
        }
    }

    #[tokio::test]
    async fn so_many_of_what_is_endless() {
        assert_eq!(fibonacci().skip(5).take(5).collect::<Vec<_>>().await, [5, 8, 13, 21, 34]);
    }

    /// The items of both, as they come.
    #[generator(inline)]
    async fn merged<T>(left: impl Stream<Item = T>, right: impl Stream<Item = T>) -> T {
        let (mut left, mut right) = (pin!(left.fuse()), pin!(right.fuse()));
        loop {
            tokio::select! {
                Some(item) = left.next() => yield_!(item),
                Some(item) = right.next() => yield_!(item),
                else => return,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_at_once() {
        let (left, right) = (timed([(0, 'a'), (20, 'c'), (40, 'e')]), timed([(10, 'b'), (30, 'd')]));
        let merged = with_times(merged(left, right)).await;
        assert_eq!(merged, [(0, 'a'), (10, 'b'), (20, 'c'), (30, 'd'), (40, 'e')]);
    }

    /// One of the left with one of the right, both made at the same time, while there are any of both.
    #[generator]
    async fn zipped<A, B>(mut left: Generator<A>, mut right: Generator<B>) -> (A, B)
    where
        A: Send + 'static,
        B: Send + 'static,
    {
        while let (Some(a), Some(b)) = tokio::join!(left.next(), right.next()) {
            yield_!((a, b));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_in_step() {
        let zipped = with_times(zipped(fibonacci(), timed([(10, 'a'), (20, 'b'), (30, 'c')]))).await;
        assert_eq!(zipped, [(10, (0, 'a')), (20, (1, 'b')), (30, (1, 'c'))]);
    }
}
