//! The context as its documentation has it, and no more: contexts are numbers, the clock counts milliseconds, and whoever is
//! done was given its end by going through all of them.

use ctx_runtime::ContextError;

/// A place in the tree: an index into [`Tree::nodes`].
pub(crate) type Place = usize;

/// Kind and cause of an end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) kind: ContextError,
    pub(crate) line: u32,
    pub(crate) detail: Option<String>,
}

impl End {
    /// The same cause, handed on to an end of another kind: error and origin stay.
    pub(crate) fn handed_on(&self, kind: ContextError) -> Self {
        let detail = self.detail.clone().or_else(|| (self.kind != kind).then(|| self.kind.to_string()));
        Self { kind, line: self.line, detail }
    }

    pub(crate) fn text(&self, file: &str) -> String {
        let line = self.line;
        let mut text = match self.kind {
            ContextError::DeadlineExceeded => format!("context deadline exceeded, set at {file}:{line}"),
            _ => format!("context cancelled at {file}:{line}"),
        };
        if let Some(detail) = &self.detail {
            text = format!("{text}: {detail}");
        }
        text
    }
}

/// What ended a context: contexts that were ended by the same are told from the top down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    Cancel(usize),
    /// The deadline that was set for this place.
    Deadline(Place),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) parents: Vec<Place>,
    pub(crate) end: Option<(End, Event)>,
    /// When, what for, and where it was set: the earliest of its own and its parents'.
    deadline: Option<(i64, End, Place)>,
    /// The line that made it, which an end by `Abandoned` names.
    pub(crate) made: u32,
    pub(crate) cancellers: usize,
    pub(crate) disarmed: bool,
    /// Its body is alive; it can end its context itself.
    pub(crate) generator: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CallbackState {
    Waiting,
    /// To be run when the timer has its turn, at the latest; or by the cancel itself.
    Due(Event),
    Ran(Option<Event>),
    Stopped,
    /// Nothing can set it off any more: dropped.
    Released,
    /// Nothing ever could: its handle keeps it.
    Kept,
}

#[derive(Debug)]
pub(crate) struct Callback {
    /// `None`: of a context that nothing ends.
    pub(crate) place: Option<Place>,
    pub(crate) state: CallbackState,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) now: i64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) callbacks: Vec<Callback>,
    cancels: usize,
}

impl Tree {
    pub(crate) fn add(&mut self, parents: &[Option<Place>], made: u32) -> Place {
        let parents: Vec<Place> = parents.iter().copied().flatten().collect();
        // The first of the earliest: `min_by_key` keeps the first one.
        let deadline = parents.iter().filter_map(|&at| self.nodes[at].deadline.clone()).min_by_key(|d| d.0);
        let end = parents.iter().find_map(|&at| self.nodes[at].end.clone());
        self.nodes.push(Node {
            parents,
            end,
            deadline,
            made,
            cancellers: 0,
            disarmed: false,
            generator: false,
        });
        self.nodes.len() - 1
    }

    pub(crate) fn set_deadline(&mut self, place: Place, at: i64, end: End) {
        if self.nodes[place].deadline.as_ref().is_none_or(|earliest| at < earliest.0) {
            self.nodes[place].deadline = Some((at, end, place));
        }
        self.follow();
    }

    pub(crate) fn deadline(&self, place: Option<Place>) -> Option<i64> {
        Some(self.nodes[place?].deadline.as_ref()?.0)
    }

    pub(crate) fn end(&self, place: Option<Place>) -> Option<&End> {
        self.nodes[place?].end.as_ref().map(|(end, _)| end)
    }

    pub(crate) fn advance(&mut self, millis: i64) {
        self.now += millis;
        self.follow();
    }

    pub(crate) fn cancel(&mut self, place: Place, end: End) {
        if self.nodes[place].end.is_none() {
            self.cancels += 1;
            self.nodes[place].end = Some((end, Event::Cancel(self.cancels)));
        }
        self.follow();
    }

    pub(crate) fn drop_canceller(&mut self, place: Place) {
        self.nodes[place].cancellers -= 1;
        let Node { cancellers, disarmed, made, .. } = self.nodes[place];
        if cancellers == 0 && !disarmed {
            let detail = Some(abandoned());
            self.cancel(place, End { kind: ContextError::Cancelled, line: made, detail });
        }
        self.follow();
    }

    pub(crate) fn add_callback(&mut self, place: Option<Place>) {
        let state = match place {
            Some(at) if self.nodes[at].end.is_some() => CallbackState::Ran(None),
            place if self.is_inert(place) => CallbackState::Kept,
            _ => CallbackState::Waiting,
        };
        self.callbacks.push(Callback { place, state });
    }

    /// Gives every context the end that is its due, and every callback what follows. Parents come before their children.
    pub(crate) fn follow(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if node.end.is_some() {
                continue;
            }
            let passed = node.deadline.as_ref().filter(|deadline| deadline.0 <= self.now);
            let by_time = passed.map(|(_, end, owner)| (end.clone(), Event::Deadline(*owner)));
            let end =
                by_time.or_else(|| node.parents.iter().find_map(|&above| self.nodes[above].end.clone()));
            self.nodes[at].end = end;
        }
        for at in 0..self.callbacks.len() {
            if self.callbacks[at].state == CallbackState::Waiting {
                let place = self.callbacks[at].place;
                if let Some((_, event)) = &self.nodes[place.unwrap()].end {
                    self.callbacks[at].state = CallbackState::Due(*event);
                } else if self.is_inert(place) {
                    self.callbacks[at].state = CallbackState::Released;
                }
            }
        }
    }

    /// Whether nothing can end this place any more.
    fn is_inert(&self, place: Option<Place>) -> bool {
        let Some(at) = place else { return true };
        let node = &self.nodes[at];
        node.end.is_none()
            && node.cancellers == 0
            && !node.generator
            && node.deadline.is_none()
            && node.parents.iter().all(|&above| self.is_inert(Some(above)))
    }

    /// Whether `above` is `below`, or one of those that it was made from, and they from.
    pub(crate) fn is_above(&self, above: Place, below: Place) -> bool {
        above == below || self.nodes[below].parents.iter().any(|&at| self.is_above(above, at))
    }

    /// Whether `lower` can be ended by a deadline of the same instant as this one that is none of `upper`'s. Which of two timers comes first
    /// is not said, so `lower` may be done, and be told, before `upper` is. (It takes a merge.)
    pub(crate) fn may_be_first(&self, lower: Place, upper: Place, event: Event) -> bool {
        let Event::Deadline(owner) = event else { return false };
        let instant = |at: Place| self.nodes[at].deadline.as_ref().map(|&(instant, ..)| instant);
        let sets_one = |at: Place| self.nodes[at].deadline.as_ref().is_some_and(|&(_, _, owner)| owner == at);
        (0..self.nodes.len()).any(|at| {
            sets_one(at)
                && instant(at) == instant(owner)
                && self.is_above(at, lower)
                && !self.is_above(at, upper)
                && !self.is_above(upper, at)
        })
    }

    pub(crate) fn live_below(&self, top: Place) -> usize {
        (0..self.nodes.len()).filter(|&at| self.nodes[at].generator && self.is_above(top, at)).count()
    }
}

pub(crate) fn abandoned() -> String {
    "abandoned by all who could have cancelled it".to_owned()
}
