//! Turns of a worker's event loop: what Envoy does "in a later turn" happens here after as many, for each of which the worker has
//! looked at its sockets once.
//!
//! One task counts for all who wait, so whoever waits for several turns is woken once, after the last of them. It rests
//! while nobody waits.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::task::{spawn_local, yield_now};

/// The turns of one worker. A clone counts the same ones.
#[derive(Clone, Default)]
pub struct Turns(Rc<Count>);

/// A future that is ready when some turns have passed since it was made.
#[must_use = "futures do nothing unless polled"]
pub struct Passing {
    count: Rc<Count>,
    /// What the count was when it began; known from the first poll on.
    began: Option<u64>,
    turns: u32,
    /// Its place among those who wait.
    key: Option<usize>,
}

#[derive(Default)]
struct Count {
    /// Turns that were counted. Those in which nobody waited were not.
    passed: Cell<u64>,
    started: Cell<bool>,
    waiting: RefCell<Slab<Waiting>>,
    /// The task that counts, while it rests.
    resting: Cell<Option<Waker>>,
}

struct Waiting {
    until: u64,
    waker: Waker,
}

impl Turns {
    /// A future that is ready when `turns` turns have passed, the first of which ends when the worker has next looked at its
    /// sockets. It counts from its first poll on, which has to happen within a `LocalSet` or local runtime.
    pub fn pass(&self, turns: u32) -> Passing {
        Passing { count: Rc::clone(&self.0), began: None, turns, key: None }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("passed", &self.0.passed.get()).finish_non_exhaustive()
    }
}

impl Passing {
    /// How many turns have passed since the first poll.
    pub fn passed(&self) -> u64 {
        self.began.map_or(0, |began| self.count.passed.get() - began)
    }

    /// Waits for that many turns since the first poll instead.
    pub fn wait_for(&mut self, turns: u32) {
        self.turns = turns;
        self.forget();
    }

    fn forget(&mut self) {
        // The last waker of a task drops its future, and others that wait with it: not before the borrow has ended.
        let _waker = self.key.take().map(|key| self.count.waiting.borrow_mut().try_remove(key));
    }
}

impl Future for Passing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let began = *this.began.get_or_insert_with(|| this.count.passed.get());
        let until = began + u64::from(this.turns);
        if this.count.passed.get() >= until {
            this.forget();
            return Poll::Ready(());
        }
        match this.key {
            None => this.key = Some(this.count.add(Waiting { until, waker: cx.waker().clone() })),
            Some(key) => {
                // Dropped after the borrow, as in `forget`.
                let _replaced = this.count.replace_waker(key, cx.waker());
            }
        }
        Poll::Pending
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Count {
    fn add(self: &Rc<Self>, waiting: Waiting) -> usize {
        let key = self.waiting.borrow_mut().insert(waiting);
        if !self.started.replace(true) {
            spawn_local(count(Rc::clone(self)));
        } else if let Some(resting) = self.resting.take() {
            resting.wake();
        }
        key
    }

    /// Has another task woken for one that waits; returns the waker that is not needed any more.
    fn replace_waker(&self, key: usize, waker: &Waker) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let present =
            waiting.get_mut(key).map(|one| &mut one.waker).filter(|present| !present.will_wake(waker))?;
        Some(std::mem::replace(present, waker.clone()))
    }

    /// Whether nobody waits for a turn that is still to come.
    fn is_idle(&self) -> bool {
        self.waiting.borrow().iter().all(|(_, one)| one.until <= self.passed.get())
    }

    /// Who has waited long enough. They take themselves off the list.
    fn due(&self) -> SmallVec<[Waker; 8]> {
        let passed = self.passed.get();
        let waiting = self.waiting.borrow();
        waiting.iter().filter(|(_, one)| one.until == passed).map(|(_, one)| one.waker.clone()).collect()
    }
}

/// Somebody counts, until it is dropped.
struct Started<'a>(&'a Count);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.0.started.set(false);
    }
}

/// Counts for ever, as long as somebody waits. If the set of tasks that it is one of ends, the next who waits starts another one.
async fn count(count: Rc<Count>) -> Infallible {
    let _started = Started(&count);
    loop {
        poll_fn(|cx| {
            if !count.is_idle() {
                return Poll::Ready(());
            }
            count.resting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        yield_now().await;
        count.passed.set(count.passed.get() + 1);
        count.due().into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::UnixStream, task::LocalSet, time::timeout};

    use super::*;

    async fn yields(turns: u32) {
        for _ in 0..turns {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken_once_after_the_last_turn() {
        let turns = Turns::default();
        let polls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&polls);
        let waiting = async move {
            let mut passing = turns.pass(5);
            poll_fn(|cx| {
                counted.set(counted.get() + 1);
                Pin::new(&mut passing).poll(cx)
            })
            .await;
            passing.passed()
        };
        assert_eq!(LocalSet::new().run_until(async { spawn_local(waiting).await }).await.unwrap(), 5);
        assert_eq!(polls.get(), 2, "the first poll, and the one after five turns");
    }

    #[tokio::test]
    async fn a_turn_takes_as_long_as_giving_way_does() {
        let turns = Turns::default();
        LocalSet::new()
            .run_until(async move {
                for count in 0..6 {
                    let mut passing = turns.pass(count);
                    tokio::join!(&mut passing, yields(count));
                    assert_eq!(passing.passed(), u64::from(count));
                }
            })
            .await;
    }

    #[tokio::test]
    async fn nobody_counts_while_nobody_waits() {
        let turns = Turns::default();
        LocalSet::new()
            .run_until(async {
                turns.pass(2).await;
                drop(turns.pass(7));
                yields(20).await;
                assert_eq!(turns.0.passed.get(), 2);
                turns.pass(1).await;
                assert_eq!(turns.0.passed.get(), 3);
            })
            .await;
    }

    #[tokio::test]
    async fn who_polled_last_is_woken() {
        let turns = Turns::default();
        LocalSet::new()
            .run_until(async {
                let mut passing = Box::pin(turns.pass(3));
                let looked = spawn_local(async move {
                    assert!(poll_fn(|cx| Poll::Ready(passing.as_mut().poll(cx).is_pending())).await);
                    (passing,)
                });
                let (passing,) = looked.await.unwrap();
                spawn_local(passing).await.unwrap();
                assert_eq!(turns.0.passed.get(), 3);
            })
            .await;
    }

    #[tokio::test]
    async fn counting_goes_on_in_another_set_of_tasks() {
        let turns = Turns::default();
        for passed in [2, 4] {
            LocalSet::new().run_until(turns.pass(2)).await;
            assert_eq!(turns.0.passed.get(), passed);
        }
    }

    #[tokio::test]
    async fn each_waits_for_its_own_turn() {
        let turns = Turns::default();
        let order = RefCell::new(Vec::new());
        let wait = async |count| {
            turns.pass(count).await;
            order.borrow_mut().push(count);
        };
        LocalSet::new().run_until(async { tokio::join!(wait(3), wait(1), wait(2), wait(1)) }).await;
        assert_eq!(*order.borrow(), [1, 1, 2, 3]);
    }

    #[tokio::test]
    async fn who_has_waited_for_less_may_go_on_at_once() {
        let turns = Turns::default();
        LocalSet::new()
            .run_until(async {
                let mut passing = turns.pass(1000);
                let _ = timeout(Duration::ZERO, yields(0)).await;
                tokio::select! { biased; () = &mut passing => panic!("too early"), () = yields(3) => {} }
                passing.wait_for(2);
                let given_way = tokio::select! { biased; () = &mut passing => false, () = yields(1) => true };
                assert!(!given_way, "{}", passing.passed());
            })
            .await;
    }

    #[tokio::test]
    async fn the_sockets_are_looked_at_in_between() {
        let turns = Turns::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        LocalSet::new()
            .run_until(async {
                // What is sent now is seen within the first turn, although nothing ever has to be waited for.
                assert_eq!(theirs.try_write(b"x").unwrap(), 1);
                let seen = async { ours.readable().await.map(|()| turns.0.passed.get()) };
                let (seen, ()) = tokio::join!(seen, turns.pass(4));
                assert!(seen.unwrap() <= 1);
            })
            .await;
    }
}
