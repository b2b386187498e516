//! The engine: who runs a body, and how its items change hands.
//!
//! The plain one: a body is polled by a task of its own, the *driver*, and by nobody else; items pass through a queue under
//! a lock. Everything else in the crate goes through [`Consumer`] and [`Yielder`].
//!
//! # Who may do what
//!
//! | | may | must not |
//! | --- | --- | --- |
//! | driver (the spawned task) | poll the body; drop it when the poll is over | touch the items but through the body |
//! | consumer (`poll_next`, `poll_end`) | take items, ask for one; drop the body of a stopped generator | poll the body |
//! | the consumer's drop | stop the generator and drop its body | wait |
//!
//! # The body
//!
//! `body` is `Some` until the generator has ended. To hold its lock is to run it: the driver holds it while it polls,
//! and whoever wants to end it takes the lock *if it is free* ([`Core::reap`]), takes the body out, and drops it without
//! the lock. Whoever finds the lock taken leaves the body to its holder, who looks whether the generator was stopped when its
//! poll is over. Stopped means that the generator's own context is done. That comes before anybody tries to reap, so a
//! holder that looks after its poll cannot miss it.
//!
//! | transition | from | to |
//! | --- | --- | --- |
//! | driver's poll | unlocked, context live | unlocked; or, finished or panicked, taken out |
//! | reap | unlocked, context done | taken out |
//! | driver dropped (shutdown) | unlocked | taken out |
//! | taken out | | dropped, inside the runtime; then `end` is set, once, and the consumer woken |
//!
//! # The items
//!
//! `ready` holds what was accepted and not yet taken; a generator that ends leaves it to the consumer (G2). With no
//! buffer, `asks` counts the consumer's requests and `answers` the items accepted for them: an item is accepted only while
//! a request is open, and its yield goes on only when the next one comes (G3). Yields that find no room queue in the order
//! of their first poll; only the head may offer its item, and whoever makes room wakes it. A yield that is dropped
//! leaves the queue, and passes its turn on.
//!
//! # The stack
//!
//! A body may own the handle of another generator, whose body may own a third. Bodies that come to be dropped within the
//! drop of another, [`NESTED_DROPS`] deep, are put off until the outermost drop returns (G5).

use super::end::{End, Panic};
use crate::context::{Context, Ending, NodeRef, Wait, is_within, quietly, within};
use crate::loom::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{TryReserveError, VecDeque};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe, Location};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll, Waker, ready};
use tokio::runtime;
use tokio::task::coop;

/// How many bodies may be dropped within one another on one stack.
const NESTED_DROPS: usize = 32;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a generator is, whatever its items are.
struct Core {
    /// The generator's own context: done as soon as the generator is stopped, for whatever reason.
    context: Context,
    runtime: runtime::Handle,
    /// Taken out by whoever ends the generator.
    body: Mutex<Option<Body>>,
    /// Set when the body is gone.
    end: OnceLock<End>,
    wakers: Mutex<Wakers>,
}

struct Wakers {
    /// The first item was asked for, or there is a buffer to fill: the body may run.
    started: bool,
    /// The driver, if it waits for that.
    driver: Option<Waker>,
    /// The consumer, if it waits for an item or the end.
    consumer: Option<Waker>,
}

/// A generator's core with the items between its two ends.
struct Shared<T> {
    core: Arc<Core>,
    /// The most items that may wait for the consumer; 0 if each is handed over on request.
    buffer: usize,
    items: Mutex<Items<T>>,
}

struct Items<T> {
    ready: VecDeque<T>,
    /// How often the consumer has asked for an item, while none was ready and no request was open.
    asks: u64,
    /// How many of these requests an item was accepted for: all, or all but the last.
    answers: u64,
    /// The yield whose item was accepted, while it waits for the next request.
    resting: Option<(Ticket, Waker)>,
    /// The yields that wait for room. The waker is out while its yield is being woken.
    offers: VecDeque<(Ticket, Option<Waker>)>,
    last_ticket: Ticket,
}

/// Tells the yields of one generator apart.
type Ticket = u64;

impl<T> Shared<T> {
    fn has_room(&self, items: &Items<T>) -> bool {
        if self.buffer == 0 { items.asks > items.answers } else { items.ready.len() < self.buffer }
    }

    /// Takes an item that is ready, and lets the next yield know that there is room.
    fn take(&self) -> Option<T> {
        let (item, head) = {
            let mut items = self.items.lock();
            let item = items.ready.pop_front()?;
            let head = if self.has_room(&items) { items.head() } else { None };
            (item, head)
        };
        wake(head);
        Some(item)
    }

    /// An item, or the end if nothing is left before it.
    fn take_or_end(&self) -> Poll<Option<T>> {
        // First the end, then the items: what was accepted before the end comes before it.
        let end = self.core.end.get();
        match (self.take(), end) {
            (Some(item), _) => Poll::Ready(Some(item)),
            (None, None) => Poll::Pending,
            (None, Some(End::Panicked(panic))) => match panic.take_payload() {
                Some(payload) => panic::resume_unwind(payload),
                None => Poll::Ready(None),
            },
            (None, Some(_)) => Poll::Ready(None),
        }
    }

    /// Opens a request, if none is open. False if it was answered in the meantime: there is an item to be taken first (G3).
    fn ask(&self) -> bool {
        let (resting, head) = {
            let mut items = self.items.lock();
            if !items.ready.is_empty() {
                return false;
            }
            if items.asks > items.answers {
                return true;
            }
            items.asks += 1;
            (items.resting.take(), items.head())
        };
        wake(resting.map(|(_, waker)| waker));
        wake(head);
        true
    }
}

impl<T> Items<T> {
    /// The waker of the yield whose turn it is.
    fn head(&mut self) -> Option<Waker> {
        self.offers.front_mut().and_then(|(_, waker)| waker.take())
    }
}

/// Wakes. A waker that panics was reported by the panic hook, and must not cost an item or another its wake.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        quietly(|| waker.wake());
    }
}

/// The room for `buffer` items, or why there is none.
pub(super) fn room_for<T>(buffer: usize) -> Result<VecDeque<T>, TryReserveError> {
    let mut room = VecDeque::new();
    room.try_reserve_exact(buffer.max(1))?;
    Ok(room)
}

/// Starts the body that `make` returns, in a task on `runtime`, under a context of its own.
pub(super) fn start<T, F>(
    context: Context,
    runtime: runtime::Handle,
    buffer: usize,
    room: VecDeque<T>,
    make: impl FnOnce(Context, Yielder<T>) -> F,
) -> Consumer<T>
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let core = Arc::new(Core {
        context,
        runtime,
        body: Mutex::new(None),
        end: OnceLock::new(),
        wakers: Mutex::new(Wakers { started: buffer > 0, driver: None, consumer: None }),
    });
    let items =
        Items { ready: room, asks: 0, answers: 0, resting: None, offers: VecDeque::new(), last_ticket: 0 };
    let shared = Arc::new(Shared { core: Arc::clone(&core), buffer, items: Mutex::new(items) });
    let unmade = Unmade(&core);
    let body = make(core.context.clone(), Yielder { shared: Arc::clone(&shared) });
    mem::forget(unmade);
    *core.body.lock() = Some(Box::pin(body));
    let wait = Wait::new(Some(core.node().clone()));
    if core.is_stopped() {
        // Never to run: nothing of it is left when this returns.
        core.reap();
        return Consumer { shared };
    }
    // A runtime that is shutting down drops the driver here and now, and that is an end too.
    drop(core.runtime.spawn(Driver { wait, core: Arc::clone(&core) }));
    Consumer { shared }
}

/// Ends a generator whose body could not be made.
struct Unmade<'a>(&'a Core);

impl Drop for Unmade<'_> {
    fn drop(&mut self) {
        self.0.finish(End::Aborted);
    }
}

/// Whether this thread can enter a runtime: not while its locals are being destroyed.
fn can_enter() -> bool {
    !runtime::Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed())
}

impl Core {
    fn node(&self) -> &NodeRef {
        self.context.node().expect("a generator has a context of its own")
    }

    fn is_stopped(&self) -> bool {
        self.context.is_done()
    }

    /// Takes the body of a stopped generator and drops it, unless somebody else has it.
    fn reap(self: &Arc<Self>) {
        // Destructors belong inside the runtime: where it cannot be entered, the driver sees to them.
        if !can_enter() {
            return;
        }
        if let Some(body) = self.take_body() {
            self.end_stopped(body);
        }
    }

    /// The body, unless it is running or somebody has it already.
    fn take_body(&self) -> Option<Body> {
        self.body.try_lock().and_then(|mut body| body.take())
    }

    /// Drops the body of a generator that was stopped, or lost its runtime.
    fn end_stopped(self: &Arc<Self>, body: Body) {
        let end = self.context.cause().map_or(End::Aborted, End::Cancelled);
        self.end(body, end);
    }

    /// Drops the body, and tells the consumer; not deeper on the stack than it bears.
    fn end(self: &Arc<Self>, body: Body, end: End) {
        let mut ended = Some(Ended { core: Arc::clone(self), body, end });
        let outermost = DROPS.try_with(|drops| {
            let depth = drops.depth.get();
            if depth < NESTED_DROPS {
                drops.depth.set(depth + 1);
            } else {
                drops.put_off.borrow_mut().extend(ended.take());
            }
            depth == 0
        });
        let Some(ended) = ended else { return };
        ended.carry_out();
        // Without the thread's locals nothing was counted, and nothing put off.
        let Ok(outermost) = outermost else { return };
        let _ = DROPS.try_with(|drops| {
            if outermost {
                loop {
                    let next = drops.put_off.borrow_mut().pop();
                    let Some(ended) = next else { break };
                    ended.carry_out();
                }
            }
            drops.depth.set(drops.depth.get() - 1);
        });
    }

    /// Publishes the end. The body is gone.
    fn finish(&self, end: End) {
        let ending = match &end {
            End::Finished => Ending::Finished,
            End::Panicked(panic) => Ending::Failed(Box::new(panic.clone())),
            End::Cancelled(_) | End::Aborted => Ending::Abandoned,
        };
        // A waker that panics was reported by the panic hook, and must not keep the consumer from its end.
        quietly(|| self.context.end(ending));
        if self.end.set(end).is_err() {
            return;
        }
        if let Some(member) = self.node().member() {
            member.set_ended();
        }
        self.wake_consumer();
    }

    fn wake_consumer(&self) {
        let consumer = self.wakers.lock().consumer.take();
        wake(consumer);
    }

    fn register_consumer(&self, waker: &Waker) {
        // A waker's clone and drop are the executor's code: outside the lock.
        let waker = waker.clone();
        let replaced = self.wakers.lock().consumer.replace(waker);
        drop(replaced);
    }

    /// Lets the body run, from the first request on.
    fn set_started(&self) {
        let driver = {
            let mut wakers = self.wakers.lock();
            wakers.started = true;
            wakers.driver.take()
        };
        wake(driver);
    }

    fn poll_started(&self, cx: &task::Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut wakers = self.wakers.lock();
        if wakers.started {
            drop(wakers);
            return Poll::Ready(());
        }
        let replaced = wakers.driver.replace(waker);
        drop(wakers);
        drop(replaced);
        Poll::Pending
    }
}

/// A body on its way out.
struct Ended {
    core: Arc<Core>,
    body: Body,
    end: End,
}

impl Ended {
    fn carry_out(self) {
        let Self { core, body, end } = self;
        let dropped = panic::catch_unwind(AssertUnwindSafe(|| {
            let _inside = can_enter().then(|| core.runtime.enter());
            drop(body);
        }));
        core.finish(match dropped {
            Ok(()) => end,
            // The body's own panic came first.
            Err(_) if matches!(end, End::Panicked(_)) => end,
            Err(payload) => End::Panicked(Panic::new(payload)),
        });
    }
}

struct Drops {
    depth: Cell<usize>,
    put_off: RefCell<Vec<Ended>>,
}

thread_local! {
    static DROPS: Drops = const { Drops { depth: Cell::new(0), put_off: RefCell::new(Vec::new()) } };

}

pin_project_lite::pin_project! {
    /// The task that runs a body.
    struct Driver {
        #[pin]
        wait: Wait,
        core: Arc<Core>,
    }

    impl PinnedDrop for Driver {
        fn drop(this: Pin<&mut Self>) {
            // The runtime goes away, or the generator has ended and there is nothing to do.
            if let Some(body) = this.core.take_body() {
                this.core.end_stopped(body);
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let core = &*this.core;
        if this.wait.as_mut().poll(cx).is_ready() {
            core.reap();
            return Poll::Ready(());
        }
        ready!(core.poll_started(cx));
        // Taken: somebody ends the generator at this moment.
        let Some(mut guard) = core.body.try_lock() else { return Poll::Ready(()) };
        let Some(body) = guard.as_mut() else { return Poll::Ready(()) };
        let polled = panic::catch_unwind(AssertUnwindSafe(|| within(core.node(), || body.as_mut().poll(cx))));
        let end = match polled {
            Ok(Poll::Pending) => {
                drop(guard);
                // Again: who stopped the generator during the poll has left the body to us.
                ready!(this.wait.poll(cx));
                core.reap();
                return Poll::Ready(());
            }
            Ok(Poll::Ready(())) => End::Finished,
            Err(payload) => End::Panicked(Panic::new(payload)),
        };
        let body = guard.take();
        drop(guard);
        if let Some(body) = body {
            core.end(body, end);
        }
        Poll::Ready(())
    }
}

/// The consumer's end of a generator.
pub(super) struct Consumer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Consumer<T> {
    pub(super) fn context(&self) -> &Context {
        &self.shared.core.context
    }

    pub(super) fn end(&self) -> Option<&End> {
        self.shared.core.end.get()
    }

    /// Stops the generator: nothing more is accepted. What was stays to be taken.
    pub(super) fn cancel(&self, origin: &'static Location<'static>) {
        self.shared.core.context.end(Ending::Cancelled(origin));
    }

    /// Whether `poll_next` has nothing more to give: neither an item nor a panic.
    pub(super) fn is_exhausted(&self) -> bool {
        let panicked = match self.end() {
            None => return false,
            Some(End::Panicked(panic)) => panic.has_payload(),
            Some(_) => false,
        };
        !panicked && self.shared.items.lock().ready.is_empty()
    }

    pub(super) fn poll_next(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<T>> {
        let budget = ready!(coop::poll_proceed(cx));
        let polled = self.poll_next_unbudgeted(cx);
        if polled.is_ready() {
            budget.made_progress();
        }
        polled
    }

    fn poll_next_unbudgeted(&mut self, cx: &task::Context<'_>) -> Poll<Option<T>> {
        let Shared { core, buffer, .. } = &*self.shared;
        if let Poll::Ready(item) = self.shared.take_or_end() {
            return Poll::Ready(item);
        }
        if core.is_stopped() {
            core.reap();
        }
        core.register_consumer(cx.waker());
        // Again: what came after the look above did not know of this waker.
        if let Poll::Ready(item) = self.shared.take_or_end() {
            return Poll::Ready(item);
        }
        if *buffer == 0 {
            if !self.shared.ask() {
                return self.shared.take_or_end();
            }
            core.set_started();
        }
        Poll::Pending
    }

    /// Ready when the body is gone.
    pub(super) fn poll_end(&mut self, cx: &task::Context<'_>) -> Poll<End> {
        let core = &self.shared.core;
        if core.is_stopped() {
            core.reap();
        }
        if let Some(end) = core.end.get() {
            return Poll::Ready(end.clone());
        }
        core.register_consumer(cx.waker());
        // Again: an end that came after the look above did not know of this waker.
        core.end.get().map_or(Poll::Pending, |end| Poll::Ready(end.clone()))
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        let core = &self.shared.core;
        // First the body, if it rests: who is woken by the end of the context must not get it before us (G5).
        let body = if can_enter() { core.take_body() } else { None };
        // A waker that panics was reported by the panic hook, and must not keep the body from its end.
        quietly(|| core.context.end(Ending::Abandoned));
        match body {
            Some(body) => core.end_stopped(body),
            None => core.reap(),
        }
        let left = mem::take(&mut self.shared.items.lock().ready);
        drop(left);
    }
}

/// What a body yields through.
///
/// A yield waits until its item can be handed over, and ends there when the generator is stopped. Yields that wait at the
/// same time are served in the order of their first poll.
///
/// # Examples
///
/// ```
/// use ctx_runtime::{Context, Generator, Yielder};
///
/// async fn countdown(from: u32, co: &Yielder<u32>) {
///     for n in (1..=from).rev() {
///         co.yield_(n).await;
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let mut numbers = Generator::builder()
///     .spawn(&Context::background(), |_, co| async move { countdown(3, &co).await });
/// assert_eq!(numbers.next().await, Some(3));
/// # }
/// ```
pub struct Yielder<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Yielder<T> {
    /// Hands `item` to the consumer.
    ///
    /// Without a buffer, waits until an item is asked for, hands it over, and waits for the next request; with one, waits for
    /// room. Once the generator is stopped it accepts nothing and does not return: the body is dropped there. A yielder that
    /// has outlived its body returns at once, and drops the item.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the item, if it was not accepted before; an accepted one reaches the consumer.
    ///
    /// # Panics
    ///
    /// If polled anywhere but within the poll of its own generator's body, such as in a task that the body has spawned.
    ///
    /// # Examples
    ///
    /// See [`Yielder`].
    pub fn yield_(&self, item: T) -> impl Future<Output = ()> + use<'_, T> {
        Yield { shared: &self.shared, state: State::New(item) }
    }
}

impl<T> fmt::Debug for Yielder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").field("buffer", &self.shared.buffer).finish_non_exhaustive()
    }
}

struct Yield<'a, T> {
    shared: &'a Shared<T>,
    state: State<T>,
}

enum State<T> {
    New(T),
    /// In the queue of offers.
    Offered(Ticket, T),
    /// Accepted as the answer to the request of this number.
    Accepted(Ticket, u64),
    Over,
}

// An item is never pinned.
impl<T> Unpin for Yield<'_, T> {}

impl<T> Future for Yield<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let shared = self.shared;
        let core = &shared.core;
        if core.end.get().is_some() {
            return Poll::Ready(());
        }
        assert!(
            is_within(core.node()),
            "a generator can yield only from within its own body: not from a task or thread that the body has spawned"
        );
        if core.is_stopped() {
            // The body is dropped as soon as its poll is over.
            return Poll::Pending;
        }
        // A waker's clone and drop are the executor's code: outside the lock.
        let waker = cx.waker().clone();
        let mut items = shared.items.lock();
        let (ticket, item) = match mem::replace(&mut self.state, State::Over) {
            State::New(item) => {
                items.last_ticket += 1;
                let ticket = items.last_ticket;
                items.offers.push_back((ticket, None));
                (ticket, item)
            }
            State::Offered(ticket, item) => (ticket, item),
            State::Accepted(ticket, ask) => {
                if items.asks > ask {
                    return Poll::Ready(());
                }
                let replaced = items.resting.replace((ticket, waker));
                drop(items);
                drop(replaced);
                self.state = State::Accepted(ticket, ask);
                return Poll::Pending;
            }
            State::Over => return Poll::Ready(()),
        };
        let is_head = items.offers.front().is_some_and(|(head, _)| *head == ticket);
        if !(is_head && shared.has_room(&items)) {
            let place = items.offers.iter_mut().find(|(place, _)| *place == ticket);
            let replaced = place.and_then(|(_, place)| place.replace(waker));
            drop(items);
            drop(replaced);
            self.state = State::Offered(ticket, item);
            return Poll::Pending;
        }
        items.offers.pop_front();
        items.ready.push_back(item);
        items.answers = items.asks;
        let replaced = if shared.buffer == 0 {
            self.state = State::Accepted(ticket, items.asks);
            items.resting.replace((ticket, waker))
        } else {
            None
        };
        let head = if shared.has_room(&items) { items.head() } else { None };
        drop(items);
        drop(replaced);
        core.wake_consumer();
        wake(head);
        if shared.buffer == 0 { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl<T> Drop for Yield<'_, T> {
    fn drop(&mut self) {
        let (gone, head) = {
            let mut items = self.shared.items.lock();
            match &self.state {
                State::Offered(ticket, _) => {
                    let place = items.offers.iter().position(|(place, _)| place == ticket);
                    let gone =
                        place.and_then(|place| items.offers.remove(place)).and_then(|(_, waker)| waker);
                    let head = if self.shared.has_room(&items) { items.head() } else { None };
                    (gone, head)
                }
                State::Accepted(ticket, _) if items.resting.as_ref().is_some_and(|(at, _)| at == ticket) => {
                    (items.resting.take().map(|(_, waker)| waker), None)
                }
                State::Accepted(..) | State::New(_) | State::Over => return,
            }
        };
        drop(gone);
        wake(head);
    }
}
