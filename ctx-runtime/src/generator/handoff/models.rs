//! Loom's models of the engine: each the shortest story of one race.
//!
//! The driver is a future that a thread of the model's polls, and every thread may help. Preemptions are bounded, as in the models of
//! the context.

use super::block::{Block, Head};
use super::ending::orphan;
use super::keeper::Keeper;
use super::{
    BlockingYielder, Consumer, Driver, LocalDriver, LocalYielder, Plan, Ring, Yielder, allocate, let_go,
    prepare, put, start_thread,
};
use crate::context::{Canceller, Context};
use crate::generator::end::End;
use crate::generator::overflow::Overflow;
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};

/// Of a story with two threads.
const PREEMPTIONS: usize = 3;

/// Of a story with three, which takes minutes with one more.
const PREEMPTIONS_OF_THREE: usize = 2;

fn model(story: impl Fn(&Handle) + Sync + Send + 'static) {
    bounded(PREEMPTIONS, story);
}

fn model_of_three(story: impl Fn(&Handle) + Sync + Send + 'static) {
    bounded(PREEMPTIONS_OF_THREE, story);
}

fn bounded(preemptions: usize, story: impl Fn(&Handle) + Sync + Send + 'static) {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || story(runtime.handle()));
}

fn start<F>(
    handle: &Handle,
    ctx: &Context,
    buffer: usize,
    make: impl FnOnce(Yielder<u8>) -> F,
) -> (Consumer<u8>, Driver)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (consumer, driver) = prepare(ctx, plan(handle, buffer, None), |_, co| make(co));
    (consumer, driver.expect("its context is not done"))
}

/// With a buffer of 1, and an overflow policy.
fn start_lossy<T, F>(
    handle: &Handle,
    ctx: &Context,
    policy: Overflow,
    make: impl FnOnce(Yielder<T>) -> F,
) -> (Consumer<T>, Driver)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (consumer, driver) = prepare(ctx, plan(handle, 1, Some(policy)), |_, co| make(co));
    (consumer, driver.expect("its context is not done"))
}

/// Without a driver.
fn start_kept<F>(
    handle: &Handle,
    ctx: &Context,
    make: impl FnOnce(Yielder<u8>) -> F,
) -> (Consumer<u8>, Arc<Keeper>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let keeper = Keeper::of(handle);
    let plan = Plan { keeper: Some(Arc::clone(&keeper)), ..plan(handle, 0, None) };
    let (consumer, driver) = prepare(ctx, plan, |_, co| make(co));
    assert!(driver.is_none());
    (consumer, keeper)
}

/// On the thread that is the set. The body waits for ever; its yielder is to be [freed](free).
fn start_local(handle: &Handle, ctx: &Context) -> (Consumer<u8>, LocalDriver, &'static LocalYielder<u8>) {
    let plan = Plan { is_local: true, ..plan(handle, 0, None) };
    // SAFETY: driver and consumer stay on this thread, by what the stories do.
    let block = unsafe { allocate(ctx.node(), plan, Block::<u8, std::future::Pending<()>>::FORM) };
    let driver = LocalDriver::of(block.node().clone());
    // SAFETY: of a local generator, the only one, on its thread.
    let yielder = unsafe { LocalYielder::new(Yielder::new(block.clone())) };
    // SAFETY: RUNNING, since it was allocated, for this.
    unsafe { put(&block, std::future::pending()) };
    let (consumer, _) = let_go(ctx, block);
    (consumer, driver, Box::leak(Box::new(yielder)))
}

/// Drops a yielder that was leaked, and that nobody refers to any more.
fn free(co: &'static LocalYielder<u8>) {
    // SAFETY: leaked by `start_local`; the rest by what the stories do.
    drop(unsafe { Box::from_raw(std::ptr::from_ref(co).cast_mut()) });
}

/// On a thread of the model's.
fn start_blocking(
    handle: &Handle,
    ctx: &Context,
    buffer: usize,
    body: impl FnOnce(&BlockingYielder<u8>) + Send + 'static,
) -> Consumer<u8> {
    start_thread(ctx, plan(handle, buffer.max(1), None), buffer > 0, |_, co| body(co)).unwrap()
}

fn ask_once(consumer: &mut Consumer<u8>) -> Poll<Option<u8>> {
    consumer.poll_next(&mut task::Context::from_waker(Waker::noop()))
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What was spawned, for a thread that is the runtime.
pub(super) struct Spawned {
    tasks: Mutex<Vec<Task>>,
    is_closed: AtomicBool,
    /// Whatever comes is dropped.
    is_gone: AtomicBool,
    changed: Condvar,
}

impl Default for Spawned {
    fn default() -> Self {
        Self {
            tasks: Mutex::new(Vec::new()),
            is_closed: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            changed: Condvar::new(),
        }
    }
}

impl Spawned {
    pub(super) fn push(&self, task: Task) {
        let mut tasks = self.tasks.lock().unwrap();
        if self.is_gone.load(Ordering::Relaxed) {
            drop(tasks);
            return drop(task);
        }
        tasks.push(task);
        self.changed.notify_one();
    }

    /// No more will come.
    fn close(&self) {
        let _tasks = self.tasks.lock().unwrap();
        self.is_closed.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// The runtime goes away, with all that was spawned and has not begun.
    fn shut_down(&self) {
        let mut tasks = self.tasks.lock().unwrap();
        self.is_gone.store(true, Ordering::Relaxed);
        self.is_closed.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        let dropped = mem::take(&mut *tasks);
        drop(tasks);
        drop(dropped);
    }

    /// Runs what was spawned before this.
    fn run_what_is_there(&self) {
        let due = mem::take(&mut *self.tasks.lock().unwrap());
        due.into_iter().for_each(block_on);
    }

    /// Runs what is spawned until there is nothing left and no more will come.
    fn run(&self) {
        loop {
            let mut tasks = self.tasks.lock().unwrap();
            while tasks.is_empty() && !self.is_closed.load(Ordering::Relaxed) {
                tasks = self.changed.wait(tasks).unwrap();
            }
            let due = mem::take(&mut *tasks);
            drop(tasks);
            if due.is_empty() {
                return;
            }
            due.into_iter().for_each(block_on);
        }
    }
}

loom::thread_local! {
    /// What was spawned in the set that this thread is.
    static HERE: RefCell<Vec<Task>> = RefCell::new(Vec::new());
}

pub(super) fn spawn_here(task: Task) {
    HERE.with(|here| here.borrow_mut().push(task));
}

/// Runs what was spawned in the set that this thread is.
fn run_here() {
    let due = HERE.with(|here| mem::take(&mut *here.borrow_mut()));
    due.into_iter().for_each(block_on);
}

fn plan<T>(handle: &Handle, buffer: usize, overflow: Option<Overflow>) -> Plan<T> {
    let ring = (buffer > 0).then(|| Ring::new(buffer, overflow).unwrap());
    Plan::new(handle.clone(), "body".into(), Location::caller(), ring, Duration::ZERO)
}

fn next<T>(consumer: &mut Consumer<T>) -> Option<T> {
    block_on(poll_fn(|cx| consumer.poll_next(cx)))
}

fn root() -> (Context, Canceller) {
    Context::background().with_cancel()
}

/// Something that a body waits for.
#[derive(Default)]
struct Event {
    set: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Event {
    fn set(&self) {
        self.set.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap().take();
        waker.into_iter().for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            if self.set.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let old = self.waker.lock().unwrap().replace(cx.waker().clone());
            drop(old);
            if self.set.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Sets an event when it is dropped.
struct SetOnDrop(Arc<Event>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[test]
fn consumer_and_driver_run_a_body_by_turns() {
    model(|handle| {
        let (mut consumer, driver) = start(handle, &Context::background(), 0, |co| async move {
            co.yield_(1).await;
            co.yield_(2).await;
        });
        let driver = thread::spawn(move || block_on(driver));
        assert_eq!((next(&mut consumer), next(&mut consumer), next(&mut consumer)), (Some(1), Some(2), None));
        driver.join().unwrap();
    });
}

/// By its consumer. (With a third thread, for the driver, it takes minutes.)
#[test]
fn a_body_that_is_woken_while_its_consumer_polls_it_is_polled_again() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let awaited = Arc::clone(&event);
        let (mut consumer, driver) = start(handle, &Context::background(), 0, |co| async move {
            awaited.wait().await;
            co.yield_(1).await;
        });
        let driver = thread::spawn(move || {
            event.set();
            block_on(driver);
        });
        assert_eq!(next(&mut consumer), Some(1));
        drop(consumer);
        driver.join().unwrap();
    });
}

/// By its driver, which polls it as a request has notified it.
#[test]
fn a_body_that_is_woken_while_its_driver_polls_it_is_polled_again() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let awaited = Arc::clone(&event);
        let (mut consumer, driver) = start(handle, &Context::background(), 1, |co| async move {
            awaited.wait().await;
            co.yield_(1).await;
        });
        let driver = thread::spawn(move || block_on(driver));
        event.set();
        assert_eq!(next(&mut consumer), Some(1));
        drop(consumer);
        driver.join().unwrap();
    });
}

#[test]
fn a_cancel_during_a_poll_ends_the_body() {
    model_of_three(|handle| {
        let (ctx, canceller) = root();
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (mut consumer, driver) = start(handle, &ctx, 0, |co| async move {
            let _guard = guard;
            co.yield_(1).await;
            std::future::pending::<()>().await;
        });
        let driver = thread::spawn(move || block_on(driver));
        let cancel = thread::spawn(move || canceller.cancel());
        let first = next(&mut consumer);
        assert!(first.is_none() || next(&mut consumer).is_none());
        assert_eq!(drops.load(Ordering::Acquire), 1);
        assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
        cancel.join().unwrap();
        driver.join().unwrap();
    });
}

#[test]
fn a_cancel_ends_a_body_that_nobody_asks() {
    model(|handle| {
        let (ctx, canceller) = root();
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (consumer, driver) = start(handle, &ctx, 1, |co| async move {
            let _guard = guard;
            co.yield_(1).await;
            std::future::pending::<()>().await;
        });
        let driver = thread::spawn(move || block_on(driver));
        canceller.cancel();
        driver.join().unwrap();
        assert_eq!(drops.load(Ordering::Acquire), 1);
        drop(consumer);
    });
}

#[test]
fn a_handle_that_is_dropped_during_a_poll_leaves_the_body_to_it() {
    model_of_three(|handle| {
        let event = Arc::new(Event::default());
        let (awaited, drops) = (Arc::clone(&event), Arc::new(AtomicUsize::new(0)));
        let guard = Dropped(Arc::clone(&drops));
        let (consumer, driver) = start(handle, &Context::background(), 1, |co| async move {
            let _guard = guard;
            awaited.wait().await;
            co.yield_(1).await;
        });
        let driver = thread::spawn(move || block_on(driver));
        let setter = thread::spawn(move || event.set());
        drop(consumer);
        setter.join().unwrap();
        driver.join().unwrap();
        assert_eq!(drops.load(Ordering::Acquire), 1);
    });
}

#[test]
fn a_shutdown_ends_a_body_that_a_consumer_asks() {
    model(|handle| {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (mut consumer, driver) = start(handle, &Context::background(), 0, |co| async move {
            let _guard = guard;
            co.yield_(1).await;
            std::future::pending::<()>().await;
        });
        let shutdown = thread::spawn(move || drop(driver));
        let first = next(&mut consumer);
        assert!(first.is_none() || next(&mut consumer).is_none());
        assert!(matches!(consumer.end(), Some(End::Aborted)));
        assert_eq!(drops.load(Ordering::Acquire), 1);
        shutdown.join().unwrap();
    });
}

#[test]
fn a_handle_is_dropped_while_its_runtime_shuts_down() {
    model(|handle| {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (consumer, driver) = start(handle, &Context::background(), 0, |co| async move {
            let _guard = guard;
            co.yield_(1).await;
        });
        let shutdown = thread::spawn(move || drop(driver));
        drop(consumer);
        shutdown.join().unwrap();
        assert_eq!(drops.load(Ordering::Acquire), 1);
    });
}

#[test]
fn what_goes_into_the_ring_comes_out_of_it() {
    model(|handle| {
        let (mut consumer, driver) = start(handle, &Context::background(), 1, |co| async move {
            co.yield_(1).await;
            co.yield_(2).await;
        });
        let driver = thread::spawn(move || block_on(driver));
        assert_eq!((next(&mut consumer), next(&mut consumer), next(&mut consumer)), (Some(1), Some(2), None));
        driver.join().unwrap();
    });
}

#[test]
fn a_full_ring_is_filled_again_though_nobody_asks() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let passed = Arc::clone(&event);
        let (mut consumer, driver) = start(handle, &Context::background(), 1, |co| async move {
            co.yield_(1).await;
            co.yield_(2).await;
            passed.set();
            std::future::pending::<()>().await;
        });
        let driver = thread::spawn(move || block_on(driver));
        assert_eq!(next(&mut consumer), Some(1));
        block_on(event.wait());
        assert_eq!(next(&mut consumer), Some(2));
        drop(consumer);
        driver.join().unwrap();
    });
}

#[test]
fn what_is_left_in_a_ring_is_dropped_once() {
    model_of_three(|handle| {
        let (ctx, canceller) = root();
        let (consumer, driver) = start(handle, &ctx, 2, |co| async move {
            co.yield_(1).await;
            co.yield_(2).await;
        });
        let driver = thread::spawn(move || block_on(driver));
        let cancel = thread::spawn(move || canceller.cancel());
        drop(consumer);
        cancel.join().unwrap();
        driver.join().unwrap();
    });
}

#[test]
fn a_yield_and_the_consumer_take_the_oldest_item() {
    model(|handle| {
        let (mut consumer, driver) =
            start_lossy(handle, &Context::background(), Overflow::DropOldest, |co| async move {
                co.yield_(1).await;
                co.yield_(2).await;
            });
        let driver = thread::spawn(move || block_on(driver));
        let first = next(&mut consumer);
        if first == Some(1) {
            // In time, so that it is not dropped.
            assert_eq!((next(&mut consumer), consumer.dropped()), (Some(2), 0));
        } else {
            assert_eq!((first, consumer.dropped()), (Some(2), 1));
        }
        assert_eq!(next(&mut consumer), None);
        driver.join().unwrap();
    });
}

#[test]
fn a_yield_finds_the_last_place_taken_or_free() {
    model(|handle| {
        let (mut consumer, driver) =
            start_lossy(handle, &Context::background(), Overflow::DropNewest, |co| async move {
                co.yield_(1).await;
                co.yield_(2).await;
            });
        let driver = thread::spawn(move || block_on(driver));
        assert_eq!(next(&mut consumer), Some(1));
        let second = next(&mut consumer);
        assert!(second.is_none_or(|second| second == 2));
        assert_eq!(consumer.dropped(), u64::from(second.is_none()));
        driver.join().unwrap();
    });
}

/// No end comes to make up for a wake that was lost.
#[test]
fn a_consumer_that_waits_is_woken_though_what_came_first_was_dropped() {
    model(|handle| {
        let (mut consumer, driver) =
            start_lossy(handle, &Context::background(), Overflow::DropOldest, |co| async move {
                co.yield_(1).await;
                co.yield_(2).await;
                std::future::pending::<()>().await;
            });
        let driver = thread::spawn(move || block_on(driver));
        let first = next(&mut consumer);
        assert!(first == Some(2) || next(&mut consumer) == Some(2));
        drop(consumer);
        driver.join().unwrap();
    });
}

#[test]
fn an_end_in_the_middle_of_it_leaves_each_item_to_one() {
    for policy in [Overflow::DropOldest, Overflow::DropNewest] {
        model_of_three(move |handle| {
            let (ctx, canceller) = root();
            let drops = Arc::new(AtomicUsize::new(0));
            let items = [(); 2].map(|()| Dropped(Arc::clone(&drops)));
            let (mut consumer, driver) = start_lossy(handle, &ctx, policy, |co| async move {
                for item in items {
                    co.yield_(item).await;
                }
            });
            let driver = thread::spawn(move || block_on(driver));
            let cancel = thread::spawn(move || canceller.cancel());
            drop(next(&mut consumer));
            drop(consumer);
            cancel.join().unwrap();
            driver.join().unwrap();
            assert_eq!(drops.load(Ordering::Acquire), 2);
        });
    }
}

#[test]
fn a_body_that_is_woken_gets_a_driver() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let awaited = Arc::clone(&event);
        let (mut consumer, keeper) = start_kept(handle, &Context::background(), |co| async move {
            awaited.wait().await;
            co.yield_(1).await;
        });
        let runtime = thread::spawn({
            let keeper = Arc::clone(&keeper);
            move || keeper.spawned().run()
        });
        let first = block_on(poll_fn(|cx| Poll::Ready(consumer.poll_next(cx))));
        assert!(first.is_pending());
        event.set();
        assert_eq!(next(&mut consumer), Some(1));
        drop(consumer);
        keeper.spawned().close();
        runtime.join().unwrap();
    });
}

#[test]
fn a_cancel_ends_a_body_that_has_no_driver() {
    model(|handle| {
        let (ctx, canceller) = root();
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (mut consumer, keeper) = start_kept(handle, &ctx, |co| async move {
            let _guard = guard;
            co.yield_(1).await;
        });
        let cancel = thread::spawn(move || canceller.cancel());
        // It may take the body in the very moment in which that is called for; where the cancel comes between its looks, it leaves the
        // body to the runtime.
        let _: Poll<Option<u8>> = block_on(poll_fn(|cx| Poll::Ready(consumer.poll_next(cx))));
        cancel.join().unwrap();
        keeper.spawned().close();
        keeper.spawned().run();
        assert_eq!(drops.load(Ordering::Acquire), 1);
        assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
    });
}

#[test]
fn a_shutdown_ends_a_body_that_has_no_driver() {
    model(|handle| {
        let drops = Arc::new(AtomicUsize::new(0));
        let guard = Dropped(Arc::clone(&drops));
        let (mut consumer, keeper) = start_kept(handle, &Context::background(), |co| async move {
            let _guard = guard;
            co.yield_(1).await;
            std::future::pending::<()>().await;
        });
        let node = consumer.context().node().unwrap().clone();
        // As the watch does with each that it finds.
        // SAFETY: the node of a generator.
        let shutdown = thread::spawn(move || orphan(&node, unsafe { Head::of(&node) }));
        let first = next(&mut consumer);
        assert!(first.is_none() || next(&mut consumer).is_none());
        assert!(matches!(consumer.end(), Some(End::Aborted)));
        assert_eq!(drops.load(Ordering::Acquire), 1);
        shutdown.join().unwrap();
        keeper.spawned().close();
        keeper.spawned().run();
    });
}

#[test]
fn the_watch_goes_when_nobody_is_left() {
    model(|handle| {
        let keeper = Keeper::of(handle);
        let watch = thread::spawn({
            let watch = keeper.watch();
            move || block_on(watch)
        });
        keeper.leave();
        // One that comes while the watch is about to go finds it there, or gone for good.
        if keeper.enter() {
            assert!(!keeper.is_gone());
            keeper.leave();
        }
        watch.join().unwrap();
        assert!(keeper.is_gone() && !keeper.enter());
    });
}

#[test]
fn a_section_is_whole_though_a_cancel_comes() {
    model(|handle| {
        let (ctx, canceller) = root();
        let event = Arc::new(Event::default());
        let counts = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let (awaited, [begun, over, dropped]) = (Arc::clone(&event), counts.clone());
        let guard = Dropped(dropped);
        let (mut consumer, keeper) = start_kept(handle, &ctx, |co| async move {
            let _guard = guard;
            co.shield(async {
                begun.fetch_add(1, Ordering::Relaxed);
                awaited.wait().await;
                over.fetch_add(1, Ordering::Relaxed);
            })
            .await;
            std::future::pending::<()>().await;
        });
        let cancel = thread::spawn(move || canceller.cancel());
        let first = block_on(poll_fn(|cx| Poll::Ready(consumer.poll_next(cx))));
        assert!(matches!(first, Poll::Pending | Poll::Ready(None)));
        event.set();
        cancel.join().unwrap();
        keeper.spawned().close();
        keeper.spawned().run();
        let counts = counts.map(|count| count.load(Ordering::Acquire));
        assert!(matches!(counts, [0, 0, 1] | [1, 1, 1]), "{counts:?}");
        assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
    });
}

#[test]
fn a_section_goes_on_in_its_driver_though_a_cancel_comes() {
    model(|handle| {
        let (ctx, canceller) = root();
        let event = Arc::new(Event::default());
        let (awaited, over) = (Arc::clone(&event), Arc::new(AtomicUsize::new(0)));
        let ticks = Arc::clone(&over);
        let (consumer, driver) = start(handle, &ctx, 1, |co| async move {
            co.yield_(1).await;
            co.shield(async {
                // Accepted, or dropped, or waiting for room when the end comes.
                co.yield_(2).await;
                awaited.wait().await;
                ticks.fetch_add(1, Ordering::Relaxed);
            })
            .await;
        });
        let driver = thread::spawn(move || block_on(driver));
        canceller.cancel();
        event.set();
        driver.join().unwrap();
        assert!(over.load(Ordering::Relaxed) <= 1);
        assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
    });
}

#[test]
fn a_section_that_is_dropped_elsewhere_and_a_cancel_end_the_body() {
    model_of_three(|handle| {
        let (ctx, canceller) = root();
        let out = Arc::new(std::sync::Mutex::new(None::<(Task, &'static Yielder<u8>)>));
        let hand_out = Arc::clone(&out);
        let (mut consumer, driver) = start(handle, &ctx, 0, |co| async move {
            let co: &'static Yielder<u8> = Box::leak(Box::new(co));
            let mut section: Task = Box::pin(co.shield(std::future::pending()));
            poll_fn(|cx| Poll::Ready(section.as_mut().poll(cx).is_pending())).await;
            *hand_out.lock().unwrap() = Some((section, co));
            std::future::pending::<()>().await;
        });
        let first = block_on(poll_fn(|cx| Poll::Ready(consumer.poll_next(cx))));
        assert!(first.is_pending());
        let (section, co) = out.lock().unwrap().take().unwrap();
        let driver = thread::spawn(move || block_on(driver));
        let dropper = thread::spawn(move || drop(section));
        canceller.cancel();
        dropper.join().unwrap();
        // It ends; else this waits for ever.
        driver.join().unwrap();
        assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
        // SAFETY: leaked by the body, which is gone, as is the section.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(co).cast_mut()) });
    });
}

#[test]
fn a_clean_up_and_a_shutdown_let_go_of_who_waits_for_the_end() {
    model(|handle| {
        let (ctx, canceller) = root();
        let drops = Arc::new(AtomicUsize::new(0));
        let (in_body, in_clean_up) = (Dropped(Arc::clone(&drops)), Dropped(Arc::clone(&drops)));
        let (consumer, keeper) = start_kept(handle, &ctx, |co| {
            co.defer(async move { drop(in_clean_up) });
            async move {
                let _in_body = in_body;
                co.yield_(1).await;
            }
        });
        let node = consumer.context().node().unwrap().clone();
        let shutdown = thread::spawn({
            let keeper = Arc::clone(&keeper);
            move || {
                keeper.spawned().shut_down();
                // As the watch does with each that it finds.
                // SAFETY: the node of a generator.
                orphan(&node, unsafe { Head::of(&node) });
            }
        });
        let ended = canceller.cancel_and_wait();
        drop(consumer);
        // What was spawned before the shutdown runs, if that did not come first.
        keeper.spawned().run_what_is_there();
        block_on(ended);
        assert_eq!(drops.load(Ordering::Acquire), 2);
        shutdown.join().unwrap();
    });
}

#[test]
fn a_guard_that_is_dropped_while_the_body_ends_is_cleaned_up() {
    model(|handle| {
        let (ctx, canceller) = root();
        let cleaned_up = Arc::new(AtomicUsize::new(0));
        let ticks = Arc::clone(&cleaned_up);
        let out = Arc::new(std::sync::Mutex::new(None));
        let hand_out = Arc::clone(&out);
        let (consumer, keeper) = start_kept(handle, &ctx, |co| {
            let co: &'static Yielder<u8> = Box::leak(Box::new(co));
            let guard = co.guard(ticks, async |ticks: Arc<AtomicUsize>| {
                ticks.fetch_add(1, Ordering::AcqRel);
            });
            *hand_out.lock().unwrap() = Some((guard, co));
            std::future::pending()
        });
        let (guard, co) = out.lock().unwrap().take().unwrap();
        let dropper = thread::spawn(move || drop(guard));
        let ended = canceller.cancel_and_wait();
        drop(consumer);
        dropper.join().unwrap();
        keeper.spawned().close();
        keeper.spawned().run();
        block_on(ended);
        assert_eq!(cleaned_up.load(Ordering::Acquire), 1);
        // SAFETY: leaked above; body and guard are gone.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(co).cast_mut()) });
    });
}

#[test]
fn what_another_thread_defers_is_seen_by_the_driver_of_a_local_body() {
    model(|handle| {
        let (ctx, _canceller) = root();
        let cleaned_up = Arc::new(AtomicUsize::new(0));
        let ticks = [(); 2].map(|()| Arc::clone(&cleaned_up));
        let (consumer, driver, co) = start_local(handle, &ctx);
        let lent: &'static Yielder<u8> = co;
        drop(consumer);
        // Its body is gone, and its driver yet to be polled for the first time.
        let other = thread::spawn(move || {
            for ticks in ticks {
                lent.defer(async move {
                    ticks.fetch_add(1, Ordering::AcqRel);
                });
            }
        });
        let mut driver = Box::pin(driver);
        block_on(poll_fn(|cx| {
            assert!(driver.as_mut().poll(cx).is_pending(), "its yielder is there");
            run_here();
            if cleaned_up.load(Ordering::Acquire) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        other.join().unwrap();
        free(co);
        block_on(driver);
        assert!(ctx.live().is_empty());
    });
}

#[test]
fn what_another_thread_defers_while_the_set_goes_is_dropped() {
    for is_body_gone in [false, true] {
        model(move |handle| {
            let (ctx, canceller) = root();
            let drops = Arc::new(AtomicUsize::new(0));
            let deferred = [(); 2].map(|()| Dropped(Arc::clone(&drops)));
            let (consumer, driver, co) = start_local(handle, &ctx);
            let lent: &'static Yielder<u8> = co;
            let consumer = (!is_body_gone).then_some(consumer);
            let other = thread::spawn(move || {
                for deferred in deferred {
                    lent.defer(async move { drop(deferred) });
                }
            });
            drop(driver);
            other.join().unwrap();
            assert_eq!(drops.load(Ordering::Acquire), 2);
            block_on(canceller.cancel_and_wait());
            drop(consumer);
            free(co);
        });
    }
}

#[test]
fn a_thread_is_asked_for_its_items_one_by_one() {
    model(|handle| {
        let mut consumer = start_blocking(handle, &Context::background(), 0, |co| {
            co.yield_(1).unwrap();
            co.yield_(2).unwrap();
        });
        assert_eq!((next(&mut consumer), next(&mut consumer), next(&mut consumer)), (Some(1), Some(2), None));
        assert!(matches!(consumer.end(), Some(End::Finished)));
    });
}

#[test]
fn a_poll_that_comes_while_a_thread_hands_its_item_over_asks_for_no_second_one() {
    model(|handle| {
        let passed = Arc::new(AtomicBool::new(false));
        let pass = Arc::clone(&passed);
        let mut consumer = start_blocking(handle, &Context::background(), 0, move |co| {
            if co.yield_(1).is_ok() {
                pass.store(true, Ordering::Release);
            }
        });
        let polls = [ask_once(&mut consumer), ask_once(&mut consumer)];
        if polls[1] == Poll::Ready(Some(1)) {
            thread::yield_now();
            assert!(!passed.load(Ordering::Acquire), "nobody has asked for another one");
        }
    });
}

#[test]
fn a_request_that_comes_right_after_the_item_of_a_thread_stands() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let passed = Arc::clone(&event);
        let mut consumer = start_blocking(handle, &Context::background(), 0, move |co| {
            co.yield_(1).unwrap();
            passed.set();
        });
        assert_eq!(next(&mut consumer), Some(1));
        let _: Poll<_> = ask_once(&mut consumer);
        block_on(event.wait());
    });
}

#[test]
fn a_thread_that_runs_ahead_tells_who_waits() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let taken = Arc::clone(&event);
        let mut consumer = start_blocking(handle, &Context::background(), 1, move |co| {
            co.yield_(1).unwrap();
            // No other item of its comes to make up for it.
            block_on(taken.wait());
        });
        assert_eq!(next(&mut consumer), Some(1));
        event.set();
        assert_eq!(next(&mut consumer), None);
    });
}

#[test]
fn a_thread_goes_on_when_its_ring_has_room_though_nobody_asks() {
    model(|handle| {
        let event = Arc::new(Event::default());
        let passed = Arc::clone(&event);
        let mut consumer = start_blocking(handle, &Context::background(), 1, move |co| {
            co.yield_(1).unwrap();
            co.yield_(2).unwrap();
            passed.set();
        });
        assert_eq!(next(&mut consumer), Some(1));
        block_on(event.wait());
        assert_eq!((next(&mut consumer), next(&mut consumer)), (Some(2), None));
    });
}

#[test]
fn a_cancel_wakes_a_thread_that_rests() {
    for buffer in [0, 1] {
        model(move |handle| {
            let (ctx, canceller) = root();
            let mut consumer = start_blocking(handle, &ctx, buffer, |co| while co.yield_(1).is_ok() {});
            let _: Poll<_> = ask_once(&mut consumer);
            canceller.cancel();
            while next(&mut consumer).is_some() {}
            assert!(matches!(consumer.end(), Some(End::Cancelled(_))));
        });
    }
}

#[test]
fn a_shutdown_wakes_a_thread_that_rests_and_who_waits_for_it() {
    model_of_three(|handle| {
        let mut consumer = start_blocking(handle, &Context::background(), 0, |co| {
            let _ = co.yield_(1).and_then(|()| co.yield_(2));
        });
        let node = consumer.context().node().unwrap().clone();
        // As the watch does with each that it finds.
        // SAFETY: the node of a generator.
        let shutdown = thread::spawn(move || orphan(&node, unsafe { Head::of(&node) }));
        let _: Option<u8> = next(&mut consumer);
        shutdown.join().unwrap();
        while next(&mut consumer).is_some() {}
        assert!(matches!(consumer.end(), Some(End::Aborted)));
    });
}

#[test]
fn a_handle_is_dropped_while_its_thread_hands_items_over() {
    for buffer in [0, 2] {
        model(move |handle| {
            let ended = Arc::new(Event::default());
            let end = SetOnDrop(Arc::clone(&ended));
            let mut consumer = start_blocking(handle, &Context::background(), buffer, move |co| {
                let _end = end;
                while co.yield_(1).is_ok() {}
            });
            let _: Poll<_> = ask_once(&mut consumer);
            drop(consumer);
            block_on(ended.wait());
        });
    }
}
