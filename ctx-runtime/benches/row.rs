//! What is measured: a [`Row`] is one piece of work, and how each [`Peer`] does it.

/// Who does the work: a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Ctx,
    TokioUtil,
    /// tokio's.
    JoinSet,
    /// tokio-util's, with a token that each of its tasks looks at.
    TaskTracker,
    /// A spawned task that sends on tokio's `mpsc`, with a `select!` on a token around each send.
    ByHand,
    Go,
    /// The same by hand with another channel.
    Kanal,
    /// Without the `select!`: it stops with its consumer only.
    KanalAlone,
    Flume,
    AsyncChannel,
    /// tokio's, whose receiver loses the oldest items when it lags behind.
    Broadcast,
    AsyncStream,
    AsynkStrim,
    Unfold,
    /// A thread that sends on std's `sync_channel`. It stops with its consumer only.
    SyncChannel,
    /// Ctx itself with `buffer = 1`, which runs ahead as a channel does.
    Ahead,
    /// Ctx itself, below a context that cannot be cancelled.
    Background,
    /// Ctx itself, with a yield that waits for room.
    Waiting,
    /// Ctx itself, with a loop that gets no checkpoint.
    Unchecked,
    /// Ctx itself, where there is less of everything.
    Small,
    /// The bare operation that the work cannot do without.
    Bare,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ctx => "ctx",
            Self::TokioUtil => "tokio-util",
            Self::JoinSet => "`JoinSet`",
            Self::TaskTracker => "`TaskTracker`",
            Self::ByHand => "tokio by hand",
            Self::Go => "Go",
            Self::Kanal => "kanal",
            Self::KanalAlone => "kanal alone",
            Self::Flume => "flume",
            Self::AsyncChannel => "async-channel",
            Self::Broadcast => "tokio `broadcast`",
            Self::AsyncStream => "async-stream",
            Self::AsynkStrim => "asynk-strim",
            Self::Unfold => "`unfold`",
            Self::SyncChannel => "`sync_channel`",
            Self::Ahead => "with `buffer = 1`",
            Self::Background => "not cancellable",
            Self::Waiting => "without a policy",
            Self::Unchecked => "with `#[no_checkpoint]`",
            Self::Small => "small",
            Self::Bare => "bare",
        }
    }
}

/// How often a row with a hundred thousand of something is repeated at most.
pub(crate) const MANY: usize = 21;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Allocations,
    Bytes,
}

/// How many times a piece of work is done in one repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Batch {
    /// As often as takes some milliseconds.
    Calibrated,
    Fixed(u64),
}

/// Does the work so many times, and returns what that took in all, in the unit of the row.
pub(crate) type Work = Box<dyn FnMut(u64) -> f64>;

pub(crate) enum Source {
    Here(Work),
    /// The name of the work in `go/`.
    Go(&'static str),
    /// The same in a process of its own.
    FreshGo(&'static str),
}

/// How one peer does the work.
pub(crate) struct Entry {
    pub(crate) peer: Peer,
    pub(crate) source: Source,
    /// What it does, where that is not what the row says.
    pub(crate) note: Option<&'static str>,
}

/// What ctx is to be measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtMostTimes(f64, Peer),
    /// So many times as fast.
    TimesFaster(f64, Peer),
    /// Of all the peers in the row.
    AtMostTimesFastest(f64),
}

/// One piece of work: a line of the table.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    pub(crate) batch: Batch,
    /// The most repetitions, where one takes long.
    pub(crate) most_repetitions: usize,
    /// Its heading in the chart, if that shows it.
    pub(crate) in_chart: Option<&'static str>,
    pub(crate) entries: Vec<Entry>,
    /// The first group is to be reached; the further ones are dreams: "then".
    pub(crate) goals: Vec<Vec<Goal>>,
}

impl Row {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            unit: Unit::Nanoseconds,
            batch: Batch::Calibrated,
            most_repetitions: usize::MAX,
            in_chart: None,
            entries: Vec::new(),
            goals: Vec::new(),
        }
    }

    pub(crate) fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Has the work done `times` times in each repetition.
    pub(crate) fn batch(mut self, times: u64) -> Self {
        self.batch = Batch::Fixed(times);
        self
    }

    /// Has it repeated less often: one repetition takes long.
    pub(crate) fn of_many(self) -> Self {
        self.repeated_at_most(MANY)
    }

    pub(crate) fn repeated_at_most(mut self, repetitions: usize) -> Self {
        self.most_repetitions = repetitions;
        self
    }

    /// Has the chart show it, under that heading.
    pub(crate) fn in_chart(mut self, heading: &'static str) -> Self {
        self.in_chart = Some(heading);
        self
    }

    pub(crate) fn by(mut self, peer: Peer, work: impl FnMut(u64) -> f64 + 'static) -> Self {
        self.entries.push(Entry { peer, source: Source::Here(Box::new(work)), note: None });
        self
    }

    pub(crate) fn by_go(mut self, name: &'static str) -> Self {
        self.entries.push(Entry { peer: Peer::Go, source: Source::Go(name), note: None });
        self
    }

    pub(crate) fn by_fresh_go(mut self, name: &'static str) -> Self {
        self.entries.push(Entry { peer: Peer::Go, source: Source::FreshGo(name), note: None });
        self
    }

    /// Says what the peer added last does.
    pub(crate) fn note(mut self, note: &'static str) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.note = Some(note);
        }
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(vec![goal]);
        self
    }

    /// Adds one beside the goal added last, no dream.
    pub(crate) fn and_goal(mut self, goal: Goal) -> Self {
        match self.goals.last_mut() {
            Some(goals) => goals.push(goal),
            None => self.goals.push(vec![goal]),
        }
        self
    }
}

/// Rows that have their peers in common.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// The columns, ctx first.
    pub(crate) peers: Vec<Peer>,
    /// The peers that ctx is divided by, in columns of their own.
    pub(crate) ratios: Vec<Peer>,
    pub(crate) rows: Vec<Row>,
}
