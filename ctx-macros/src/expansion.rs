//! What functions become: one picture of each, to be read.

use crate::expand;
use proc_macro2::TokenStream;
use quote::quote;

/// The expansion as rustfmt would leave it, nearly.
fn picture(args: TokenStream, item: TokenStream) -> String {
    let expansion = expand(args, item);
    match syn::parse2(expansion.clone()) {
        Ok(file) => joined(&prettyplease::unparse(&file)),
        Err(error) => panic!("{error} in {expansion}"),
    }
}

/// With the turbofish on one line, as rustfmt has it.
fn joined(text: &str) -> String {
    let opens = |line: &str| {
        [".spawn::<", ".spawn_local::<", ".spawn_blocking::<", "::inline::<"]
            .iter()
            .any(|end| line.ends_with(end))
    };
    let (mut joined, mut inside) = (String::new(), false);
    for line in text.lines() {
        if !inside {
            joined.push_str(line);
            inside = opens(line);
        } else if line.trim_start().starts_with('>') {
            joined.truncate(joined.trim_end_matches([',', ' ']).len());
            joined.push_str(line.trim_start());
            inside = opens(line);
        } else {
            joined.push_str(line.trim_start());
            joined.push(' ');
        }
        if !inside {
            joined.push('\n');
        }
    }
    joined
}

macro_rules! pictures {
    ($($name:ident: ($($args:tt)*) { $($item:tt)* })*) => {$(
        #[test]
        fn $name() {
            insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(stringify!($name), picture(quote!($($args)*), quote!($($item)*)));
            });
        }
    )*};
}

pictures! {
    count: (cancellable) {
        /// Counts up from `start` until the context is done.
        async fn count(ctx: &Context, start: u64) -> u64 {
            let mut n = start;
            loop {
                yield_!(n);
                n += 1;
            }
        }
    }

    all_options: (cancellable, buffer = 2 * PAGE, overflow = drop_oldest, name = "page reader", crate = other::path) {
        pub(crate) async fn pages(ctx: Context) -> Page {
            yield_!(Page::first());
        }
    }

    without_context: () {
        async fn once(value: String) -> String {
            yield_!(value)
        }
    }

    results: (cancellable) {
        async fn lines(ctx: &Context, feed: TcpStream) -> io::Result<String> {
            let mut lines = BufReader::new(feed).lines();
            while let Some(line) = lines.next_line().await? {
                if line == "bye" {
                    return;
                }
                yield_!(Ok(line));
            }
        }
    }

    results_without_end: () {
        async fn numbers(texts: Vec<String>) -> Result<u64, ParseIntError> {
            loop {
                for text in &texts {
                    yield_!(Ok(text.parse()?));
                }
            }
        }
    }

    arguments: (cancellable) {
        async fn walk<T: Send + 'static>(
            self: Arc<Self>,
            mut depth: usize,
            (root, _): (PathBuf, T),
            _: u8,
            _unused: u8,
            #[cfg(unix)] #[allow(unused_variables)] mode: u32,
            #[ctx] request: Context,
            filter: impl Fn(&Path) -> bool + Send + 'static,
        ) -> PathBuf
        where
            T: Clone,
        {
            while depth > 0 {
                yield_!(root.clone());
                depth -= 1;
            }
        }
    }

    last_expression_that_may_be_a_value: () {
        async fn either(first: bool) -> u8 {
            match first {
                true => yield_!(1),
                false => yield_!(2),
            }
        }
    }

    value_that_may_be_returned: () {
        async fn either(first: bool) -> u8 {
            if first {
                return finish();
            }
            yield_!(2);
        }
    }

    attributes: () {
        /// Kept.
        #[cfg(test)]
        #[track_caller]
        pub async unsafe fn r#loop() -> u8 {
            #![allow(unused_mut)]
            yield_!(1);
        }
    }

    instrumented: () {
        #[tracing::instrument(skip_all)]
        async fn once() -> u8 {
            yield_!(1);
        }
    }

    instrumented_blocking: (blocking) {
        #[instrument]
        fn once() -> u8 {
            yield_!(1);
        }
    }

    inline: (cancellable, inline) {
        async fn words(ctx: &Context, text: &str, keep: impl Fn(&str) -> bool) -> &str {
            for word in text.split(' ').filter(|word| keep(word)) {
                yield_!(word);
            }
        }
    }

    inline_method: (cancellable, inline) {
        async fn rows<R: Read>(&mut self, ctx: &Context, source: R) -> &Row {
            yield_!(&self.rows[0]);
        }
    }

    inline_without_context: (inline) {
        async fn letters(word: &str) -> char {
            yield_!('a');
        }
    }

    stub_after_mistakes: (cancelable) {
        /// Kept.
        pub fn rows<'a>(&'a self, #[ctx] ctx: &Context, filter: &str) -> &'a Row {
            return 1;
        }
    }

    macros_of_the_body: (cancellable) {
        async fn rows(ctx: &Context, conn: Conn, tables: Vec<Table>) -> Row {
            defer!(async { log("closed").await });
            let mut conn = defer!(conn, async |conn: Conn| conn.close().await);
            for table in tables {
                shield!(conn.lock(&table)).check();
                yield_all!(table.rows());
            }
        }
    }

    macros_of_others: () {
        async fn rows() -> Row {
            hand_on!(Row::default());
        }
    }

    local: (local, grace = Duration::from_secs(5)) {
        async fn shared(text: Rc<str>) -> Rc<str> {
            yield_!(Rc::clone(&text));
        }
    }

    blocking: (cancellable, blocking, buffer = 16) {
        fn entries(ctx: &Context, root: PathBuf) -> PathBuf {
            for entry in WalkDir::new(root) {
                yield_!(entry.path());
            }
        }
    }

    checkpoints: (cancellable) {
        async fn rows(ctx: &Context, mut feeds: Vec<Feed>, other: Feed) -> Row {
            'feeds: for feed in &mut feeds {
                while let Some(row) = feed.next().await {
                    if row.is_last() {
                        continue 'feeds;
                    }
                    yield_!(row);
                }
            }
            for n in 0..10 {
                yield_!(Row::numbered(n));
            }
            #[no_checkpoint]
            while let Some(row) = other.next().await {
                if row.is_first() {
                    yield_!(row);
                }
            }
            select! {
                Some(row) = other.next() => loop {
                    if let Some(row) = row.below().await {
                        yield_!(row);
                    }
                },
                () = async { 'some: loop { yield_all!(other.rows()); } } => {}
            }
            spawn(async move { loop { tick().await } });
            while feeds.len() > 1 {
                feeds.pop();
            }
        }
    }

    checkpoints_of_blocking: (blocking) {
        fn squares() -> u64 {
            for n in 0.. {
                if is_square(n) {
                    yield_!(n);
                }
            }
        }
    }

    blocking_results: (blocking) {
        fn rows(file: File) -> Result<Row, csv::Error> {
            for row in csv::Reader::from_reader(file) {
                yield_!(Ok(row?.into()));
            }
        }
    }

    not_a_function: () {
        struct Row;
    }
}
