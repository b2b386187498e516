//! C2 to C6 and C11 at large: random trees of operations, on the contexts and on a plain model of them, and after every step
//! whatever can be observed is compared.

#![allow(dead_code, reason = "of the shared modules each file takes what it needs")]

mod by_hand;
#[path = "context_model/model.rs"]
mod model;
mod witness;

use by_hand::{Wakes, poll_once};
use ctx_runtime::{AfterFunc, Canceller, Cause, Context, ContextError, Done, Generator};
use model::{CallbackState, End, Event, Place, Tree};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::error::Error;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, advance};
use witness::Tally;

/// One thing that somebody does. A number picks one of what is there, counted round.
#[derive(Clone, Debug)]
enum Op {
    WithCancel(usize),
    /// So many milliseconds from now, or ago.
    WithDeadline(usize, i64, Why),
    WithTimeout(usize, i64, Why),
    WithValue(usize, u32),
    WithoutCancel(usize),
    Merge(usize, usize),
    CloneContext(usize),
    DropContext(usize),
    CloneCanceller(usize),
    DropCanceller(usize),
    Disarm(usize),
    Cancel(usize, Why),
    AfterFunc(usize),
    Stop(usize),
    DropHandle(usize),
    Wait(usize),
    PollAgain(usize),
    DropWait(usize),
    Start(usize),
    DropGenerator(usize),
    /// Moves the clock on by so many milliseconds.
    Advance(i64),
}

/// The cause that is given along.
#[derive(Clone, Debug)]
enum Why {
    Plain,
    Text,
    /// The cause of another context, if it has one.
    HandedOn(usize),
}

/// What happens after an operation.
#[derive(Clone, Copy, Debug)]
struct Then {
    /// Everything that can be read is read, before a timer has had its turn.
    hasty: bool,
    /// The timers and the generators have their turn.
    settle: bool,
    /// Everything that can be read is read; so no deadline stays unseen.
    look: bool,
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    let n = || 0..12_usize;
    let why = || prop_oneof![2 => Just(Why::Plain), 2 => Just(Why::Text), 1 => n().prop_map(Why::HandedOn)];
    prop_oneof![
        6 => n().prop_map(WithCancel),
        3 => (n(), -4..30_i64, why()).prop_map(|(at, millis, why)| WithDeadline(at, millis, why)),
        2 => (n(), 0..30_i64, why()).prop_map(|(at, millis, why)| WithTimeout(at, millis, why)),
        1 => (n(), 0..9_u32).prop_map(|(at, value)| WithValue(at, value)),
        1 => n().prop_map(WithoutCancel),
        4 => (n(), n()).prop_map(|(one, other)| Merge(one, other)),
        1 => n().prop_map(CloneContext),
        2 => n().prop_map(DropContext),
        1 => n().prop_map(CloneCanceller),
        2 => n().prop_map(DropCanceller),
        2 => n().prop_map(Disarm),
        2 => (n(), why()).prop_map(|(at, why)| Cancel(at, why)),
        6 => n().prop_map(AfterFunc),
        2 => n().prop_map(Stop),
        1 => n().prop_map(DropHandle),
        4 => n().prop_map(Wait),
        1 => n().prop_map(PollAgain),
        1 => n().prop_map(DropWait),
        2 => n().prop_map(Start),
        1 => n().prop_map(DropGenerator),
        3 => (1..12_i64).prop_map(Advance),
    ]
}

#[derive(Clone)]
struct OfContext {
    ctx: Context,
    place: Option<Place>,
    value: Option<u32>,
}

struct OfCallback {
    handle: Option<AfterFunc>,
    /// Counts when what the callback holds is dropped.
    dropped: Tally,
}

struct OfWait {
    done: Pin<Box<Done>>,
    place: Option<Place>,
    heard: Arc<Wakes>,
    waker: Waker,
    /// It was pending when it was first polled, so it is to be woken, once.
    registered: bool,
    /// A later poll has found the end before the wake came: so it may come, or not.
    overtaken: bool,
}

/// The contexts, and the model of them.
struct World {
    begun: Instant,
    tree: Tree,
    contexts: Vec<OfContext>,
    cancellers: Vec<(Canceller, Place)>,
    callbacks: Vec<OfCallback>,
    waits: Vec<OfWait>,
    generators: Vec<(Generator<u8>, Place)>,
    /// The callbacks that were run, in order.
    log: Arc<Mutex<Vec<usize>>>,
    /// How many of them were seen before.
    seen: usize,
}

fn pick<T>(things: &[T], number: usize) -> Option<usize> {
    number.checked_rem(things.len())
}

type Given = Option<Box<dyn Error + Send + Sync>>;

#[track_caller]
fn with_deadline(ctx: &Context, deadline: Instant, cause: Given) -> Context {
    match cause {
        Some(cause) => ctx.with_deadline_cause(deadline, cause),
        None => ctx.with_deadline(deadline),
    }
}

#[track_caller]
fn with_timeout(ctx: &Context, timeout: Duration, cause: Given) -> Context {
    match cause {
        Some(cause) => ctx.with_timeout_cause(timeout, cause),
        None => ctx.with_timeout(timeout),
    }
}

#[track_caller]
fn cancel(canceller: &Canceller, cause: Given) {
    match cause {
        Some(cause) => canceller.cancel_with(cause),
        None => canceller.cancel(),
    }
}

impl World {
    fn new() -> Self {
        let root = OfContext { ctx: Context::background(), place: None, value: None };
        Self {
            begun: Instant::now(),
            tree: Tree::default(),
            contexts: vec![root],
            cancellers: Vec::new(),
            callbacks: Vec::new(),
            waits: Vec::new(),
            generators: Vec::new(),
            log: Arc::default(),
            seen: 0,
        }
    }

    fn instant(&self, millis: i64) -> Instant {
        let span = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 { self.begun - span } else { self.begun + span }
    }

    fn context(&self, number: usize) -> OfContext {
        self.contexts[pick(&self.contexts, number).unwrap_or(0)].clone()
    }

    /// The cause to give along, and what becomes of it.
    fn why(&self, why: &Why, kind: ContextError, line: u32) -> (Given, End) {
        let handed_on = |number| {
            let of = self.context(number);
            let cause: Cause = of.ctx.cause()?;
            Some((cause, self.tree.end(of.place)?.handed_on(kind)))
        };
        match why {
            Why::HandedOn(number) => match handed_on(*number) {
                Some((cause, end)) => (Some(Box::new(cause)), end),
                None => (None, End { kind, line, detail: None }),
            },
            Why::Text => (Some("text".into()), End { kind, line, detail: Some("text".to_owned()) }),
            Why::Plain => (None, End { kind, line, detail: None }),
        }
    }

    fn keep(&mut self, ctx: Context, place: Option<Place>, value: Option<u32>) {
        self.contexts.push(OfContext { ctx, place, value });
    }

    fn apply(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::WithCancel(number) => {
                let of = self.context(number);
                let (made, (ctx, canceller)) = (line!(), of.ctx.with_cancel());
                let place = self.tree.add(&[of.place], made);
                self.tree.nodes[place].cancellers = 1;
                self.cancellers.push((canceller, place));
                self.keep(ctx, Some(place), of.value);
            }
            Op::WithDeadline(number, millis, ref why) => {
                let (of, at) = (self.context(number), self.tree.now + millis);
                let instant = self.instant(at);
                let (cause, end) = self.why(why, ContextError::DeadlineExceeded, line!() + 1);
                let ctx = with_deadline(&of.ctx, instant, cause);
                self.add_timed(&of, ctx, at, end);
            }
            Op::WithTimeout(number, millis, ref why) => {
                let (of, at) = (self.context(number), self.tree.now + millis);
                let timeout = Duration::from_millis(millis.unsigned_abs());
                let (cause, end) = self.why(why, ContextError::DeadlineExceeded, line!() + 1);
                let ctx = with_timeout(&of.ctx, timeout, cause);
                self.add_timed(&of, ctx, at, end);
            }
            Op::WithValue(number, value) => {
                let of = self.context(number);
                self.keep(of.ctx.with_value(value), of.place, Some(value));
            }
            Op::WithoutCancel(number) => {
                let of = self.context(number);
                let (made, ctx) = (line!(), of.ctx.without_cancel());
                let place = self.tree.add(&[], made);
                self.keep(ctx, Some(place), of.value);
            }
            Op::Merge(one, other) => {
                let (of, other) = (self.context(one), self.context(other));
                let (made, ctx) = (line!(), of.ctx.merge(&other.ctx));
                let place = self.tree.add(&[of.place, other.place], made);
                self.keep(ctx, Some(place), of.value);
            }
            Op::CloneContext(number) => self.contexts.push(self.context(number)),
            Op::DropContext(number) => {
                // The background stays.
                if let Some(at) = pick(&self.contexts[1..], number) {
                    self.contexts.remove(1 + at);
                }
            }
            Op::CloneCanceller(number) => {
                if let Some(at) = pick(&self.cancellers, number) {
                    let (canceller, place) = self.cancellers[at].clone();
                    self.tree.nodes[place].cancellers += 1;
                    self.cancellers.push((canceller, place));
                }
            }
            Op::DropCanceller(number) => {
                if let Some(at) = pick(&self.cancellers, number) {
                    let (canceller, place) = self.cancellers.remove(at);
                    self.tree.drop_canceller(place);
                    drop(canceller);
                }
            }
            Op::Disarm(number) => {
                if let Some(at) = pick(&self.cancellers, number) {
                    let (canceller, place) = &self.cancellers[at];
                    canceller.disarm();
                    self.tree.nodes[*place].disarmed = true;
                }
            }
            Op::Cancel(number, ref why) => {
                if let Some(at) = pick(&self.cancellers, number) {
                    let (canceller, place) = self.cancellers[at].clone();
                    let (cause, end) = self.why(why, ContextError::Cancelled, line!() + 1);
                    cancel(&canceller, cause);
                    self.tree.cancel(place, end);
                }
            }
            Op::AfterFunc(number) => self.after_func(number),
            Op::Stop(number) => return self.stop(number),
            Op::DropHandle(number) => {
                if let Some(at) = pick(&self.callbacks, number) {
                    self.callbacks[at].handle = None;
                }
            }
            Op::Wait(number) => return self.wait(number),
            Op::PollAgain(number) => {
                if let Some(at) = pick(&self.waits, number) {
                    return self.poll(at);
                }
            }
            Op::DropWait(number) => {
                if let Some(at) = pick(&self.waits, number) {
                    self.waits.remove(at);
                }
            }
            Op::Start(number) => self.start(number),
            Op::DropGenerator(number) => self.drop_generator(number),
            Op::Advance(millis) => self.tree.advance(millis),
        }
        Ok(())
    }

    fn add_timed(&mut self, of: &OfContext, ctx: Context, at: i64, end: End) {
        let place = self.tree.add(&[of.place], 0);
        self.tree.set_deadline(place, at, end);
        self.keep(ctx, Some(place), of.value);
    }

    fn after_func(&mut self, number: usize) {
        let of = self.context(number);
        let (id, log, dropped) = (self.callbacks.len(), Arc::clone(&self.log), Tally::new());
        let guard = dropped.on_drop();
        let handle = of.ctx.after_func(move || {
            log.lock().unwrap().push(id);
            drop(guard);
        });
        self.tree.add_callback(of.place);
        self.callbacks.push(OfCallback { handle: Some(handle), dropped });
    }

    fn start(&mut self, number: usize) {
        let (of, builder) = (self.context(number), Generator::builder().buffer(1));
        let generator = builder.spawn::<u8, _, _>(&of.ctx, |_, _| pending());
        let place = self.tree.add(&[of.place], line!() - 1);
        self.tree.nodes[place].generator = true;
        self.keep(generator.context().clone(), Some(place), of.value);
        self.generators.push((generator, place));
    }

    fn drop_generator(&mut self, number: usize) {
        let Some(at) = pick(&self.generators, number) else { return };
        let (generator, place) = self.generators.remove(at);
        let (line, detail) = (self.tree.nodes[place].made, Some(model::abandoned()));
        self.tree.cancel(place, End { kind: ContextError::Cancelled, line, detail });
        drop(generator);
        self.tree.nodes[place].generator = false;
    }

    fn stop(&mut self, number: usize) -> Result<(), String> {
        let Some(at) = pick(&self.callbacks, number) else { return Ok(()) };
        let Some(handle) = &self.callbacks[at].handle else { return Ok(()) };
        let stopped = handle.stop();
        let state = &mut self.tree.callbacks[at].state;
        let expected = match *state {
            CallbackState::Waiting | CallbackState::Kept => true,
            CallbackState::Ran(_) | CallbackState::Stopped => false,
            // The timer had no turn yet, so `stop` came first.
            CallbackState::Due(_) => stopped,
            // Neither has it run, nor is it here to be stopped.
            CallbackState::Released => return Ok(()),
        };
        if stopped {
            *state = CallbackState::Stopped;
        }
        same(&format!("`stop` of callback {at}"), &stopped, &expected)
    }

    fn wait(&mut self, number: usize) -> Result<(), String> {
        let of = self.context(number);
        let ((heard, waker), done) = (Wakes::new(), Box::pin(of.ctx.done()));
        let (place, registered, overtaken) = (of.place, false, false);
        self.waits.push(OfWait { done, place, heard, waker, registered, overtaken });
        self.poll(self.waits.len() - 1)
    }

    fn poll(&mut self, at: usize) -> Result<(), String> {
        let wait = &mut self.waits[at];
        let ready = poll_once(wait.done.as_mut(), &wait.waker).is_ready();
        wait.registered |= !ready;
        wait.overtaken |= ready && wait.registered && wait.heard.count() == 0;
        same(&format!("a poll of wait {at}"), &ready, &self.tree.end(wait.place).is_some())
    }

    /// Compares what each context says of itself.
    fn look(&self) -> Result<(), String> {
        for (at, of) in self.contexts.iter().enumerate() {
            let (ctx, end) = (&of.ctx, self.tree.end(of.place));
            let who = |what| format!("context {at}, {what}");
            same(&who("is_done"), &ctx.is_done(), &end.is_some())?;
            same(&who("err"), &ctx.err(), &end.map(|end| end.kind))?;
            let cause = ctx.cause();
            let text = cause.as_ref().map(Cause::to_string);
            same(&who("cause"), &text, &end.map(|end| end.text(file!())))?;
            same(&who("kind"), &cause.as_ref().map(Cause::kind), &end.map(|end| end.kind))?;
            let origin = cause.as_ref().map(|cause| cause.origin().line());
            same(&who("origin"), &origin, &end.map(|end| end.line))?;
            let deadline = self.tree.deadline(of.place);
            same(&who("deadline"), &ctx.deadline(), &deadline.map(|at| self.instant(at)))?;
            let left = |at: i64| Duration::from_millis((at - self.tree.now).max(0).unsigned_abs());
            same(&who("remaining"), &ctx.remaining(), &deadline.map(left))?;
            same(&who("value"), &ctx.value::<u32>(), &of.value.as_ref())?;
        }
        Ok(())
    }

    /// Takes note of the callbacks that have run since, and compares their order.
    fn hear(&mut self) -> Result<(), String> {
        let log = self.log.lock().unwrap().clone();
        for &id in &log[self.seen..] {
            let callback = &mut self.tree.callbacks[id];
            match callback.state {
                CallbackState::Due(event) => callback.state = CallbackState::Ran(Some(event)),
                CallbackState::Ran(None) => {}
                state => return Err(format!("callback {id} has run, though it was {state:?}")),
            }
        }
        self.seen = log.len();
        for (at, &one) in log.iter().enumerate() {
            for &later in &log[at + 1..] {
                if one == later {
                    return Err(format!("callback {one} has run twice"));
                }
                self.in_order(one, later).map_err(|error| format!("{error}; they ran as {log:?}"))?;
            }
        }
        Ok(())
    }

    /// C6, for two that ran one after the other.
    fn in_order(&self, one: usize, later: usize) -> Result<(), String> {
        let (first, second) = (&self.tree.callbacks[one], &self.tree.callbacks[later]);
        let (CallbackState::Ran(Some(event)), Some(upper), Some(lower)) =
            (first.state, second.place, first.place)
        else {
            return Ok(());
        };
        let same_event = second.state == CallbackState::Ran(Some(event));
        if same_event && upper == lower && later < one {
            return Err(format!("callback {one} ran before {later}, which was registered before it"));
        }
        let is_above = upper != lower && self.tree.is_above(upper, lower);
        if same_event && is_above && !self.tree.may_be_first(lower, upper, event) {
            return Err(format!("callback {one} ran before {later}, whose context is above its own"));
        }
        Ok(())
    }

    /// Compares what a cancel has done before it returned, or, with everything settled, all that is to happen.
    fn check(&mut self, settled: bool) -> Result<(), String> {
        self.hear()?;
        for (id, callback) in self.tree.callbacks.iter().enumerate() {
            match callback.state {
                CallbackState::Due(event) if settled || matches!(event, Event::Cancel(_)) => {
                    return Err(format!("callback {id} has not run, though its context has ended"));
                }
                _ => {}
            }
            let handle = &self.callbacks[id].handle;
            let gone = match callback.state {
                CallbackState::Waiting | CallbackState::Due(_) => false,
                CallbackState::Kept => handle.is_none(),
                CallbackState::Ran(_) | CallbackState::Stopped | CallbackState::Released => true,
            };
            same(&format!("callback {id} is dropped"), &(self.callbacks[id].dropped.count() == 1), &gone)?;
        }
        for (at, wait) in self.waits.iter().enumerate() {
            let end = wait.place.and_then(|place| self.tree.nodes[place].end.as_ref());
            let lags = !settled && matches!(end, Some((_, Event::Deadline(_))));
            let (woken, wakes) = (wait.registered && end.is_some(), wait.heard.count());
            if !(woken && wakes <= 1 && (lags || wait.overtaken)) {
                same(&format!("wakes of wait {at}"), &wakes, &usize::from(woken))?;
            }
        }
        if settled {
            for (at, (generator, place)) in self.generators.iter().enumerate() {
                let ended = self.tree.nodes[*place].end.is_some();
                self.tree.nodes[*place].generator = !ended;
                same(&format!("generator {at} has ended"), &generator.end().is_some(), &ended)?;
            }
            for (at, of) in self.contexts.iter().enumerate() {
                // The background lists what other tests run.
                let Some(place) = of.place else { continue };
                same(
                    &format!("live below context {at}"),
                    &of.ctx.live().len(),
                    &self.tree.live_below(place),
                )?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, op: &Op, then: Then) -> Result<(), String> {
        if let Op::Advance(millis) = op {
            jump(Duration::from_millis(millis.unsigned_abs())).await;
        }
        self.apply(op)?;
        self.check(false)?;
        if then.hasty {
            self.look()?;
            self.check(false)?;
        }
        if then.settle {
            settle().await;
            self.check(true)?;
        }
        if then.look {
            self.look()?;
            self.check(then.settle)?;
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should_be: &T) -> Result<(), String> {
    if is == should_be { Ok(()) } else { Err(format!("{what}: is {is:?}, should be {should_be:?}")) }
}

/// Moves the clock on; the timers have no turn yet.
async fn jump(span: Duration) {
    let mut moved = pin!(advance(span));
    poll_fn(|cx| {
        let _ = moved.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

async fn settle() {
    for _ in 0..6 {
        tokio::task::yield_now().await;
    }
}

/// A step of a story, on one line.
#[derive(Clone)]
struct Step(Op, Then);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(op, Then { hasty, settle, look }) = self;
        // Not `f`'s own way, which takes a line for each number.
        f.write_str(&format!("{op:?}"))?;
        f.write_str(if *hasty { ", look at once" } else { "" })?;
        f.write_str(if *settle { ", settle" } else { "" })?;
        f.write_str(if *look { ", look" } else { "" })
    }
}

async fn agree(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let last = Step(Op::Advance(100), Then { hasty: false, settle: true, look: true });
    for (at, Step(op, then)) in steps.iter().chain([&last, &last]).enumerate() {
        if let Err(error) = world.step(op, *then).await {
            return Err(TestCaseError::fail(format!("step {at}, {op:?}: {error}")));
        }
    }
    Ok(())
}

/// Runs the model beside the contexts, so many times; a failure is shrunk to the shortest story that fails.
fn compare(cases: u32, then: impl Strategy<Value = Then>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let steps = prop::collection::vec((op(), then).prop_map(|(op, then)| Step(op, then)), 1..60);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agree(&steps))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The timers have their turn after every step; what is not looked at stays unseen.
#[test]
fn contexts_do_what_a_plain_model_of_them_does() {
    compare(1500, any::<bool>().prop_map(|look| Then { hasty: false, settle: true, look }));
}

/// C2: the same where the clock jumps and whoever comes first, a reader, a cancel or a new child, comes before the timers.
#[test]
fn contexts_do_what_a_plain_model_does_while_the_timers_lag_behind() {
    let then = any::<(bool, bool, bool)>();
    compare(1500, then.prop_map(|(hasty, settle, look)| Then { hasty, settle, look }));
}
