//! Alarms of one worker: timers that cost next to nothing as long as they do not go off, which is what the timeouts of
//! connections do.
//!
//! A timer of the runtime takes a lock when it is set, moved and dropped, is asked anew whenever its task is polled, and
//! wakes the thread that sets it if it is the next one to go off. Here, alarms that are some time away wait in a wheel of
//! coarse ticks, with one timer of the runtime for all. At the last tick before its moment an alarm becomes a timer of the
//! runtime, so it goes off as exactly as one.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep, sleep_until};

/// How many ticks a second has.
const TICKS_PER_SECOND: u32 = 4;
const TICK: Duration = Duration::from_millis(1000 / TICKS_PER_SECOND as u64);

/// How many ticks one turn of the wheel has, about a minute. Alarms that are further away stay for another turn.
const SLOTS: usize = 256;

/// From so many ticks on after the last look at the clock, an alarm is not near.
const NEAR: u64 = 8;

/// The end of a list of alarms.
const NONE: u32 = u32::MAX;

/// Where the alarms of one worker wait.
///
/// A clone is a handle to the same place. The default is none: alarms are timers of the runtime.
#[derive(Clone, Default)]
pub struct Timers(Option<Rc<Wheel>>);

/// A future that is ready from a certain moment on.
///
/// It remembers the task that polled it last.
#[must_use = "futures do nothing unless polled"]
pub struct Alarm {
    timers: Timers,
    state: State,
}

enum State {
    /// Nobody waits yet for this moment.
    Idle(Instant),
    /// It is this one of the wheel, which knows the moment.
    Coarse(u32),
    /// Its moment is near.
    Exact(Pin<Box<Sleep>>),
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

impl Timers {
    /// Starts a wheel. To be called on the worker's thread, within its runtime: a task there makes alarms go off.
    pub fn start() -> Self {
        let (origin, seen) = (Instant::now(), Cell::new(0));
        let wheel = Rc::new(Wheel { origin, seen, turning: RefCell::new(Turning::default()) });
        tokio::task::spawn_local(turn(Rc::clone(&wheel)));
        Self(Some(wheel))
    }

    /// An alarm for a moment.
    pub fn at(&self, at: Instant) -> Alarm {
        Alarm { timers: self.clone(), state: State::Idle(at) }
    }

    /// What a future comes to, unless it takes longer than `limit`. If both happen in the same moment, the future counts.
    ///
    /// # Errors
    /// If it takes longer; the future is dropped then.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, TimedOut> {
        let mut alarm = self.at(Instant::now() + limit);
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut alarm).poll(cx).map(|()| Err(TimedOut))
        })
        .await
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.0.as_ref().map_or(0, |wheel| wheel.turning.borrow().waiting.len());
        f.debug_struct("Timers").field("waiting", &waiting).finish()
    }
}

impl Alarm {
    /// When it goes off.
    pub fn moment(&self) -> Instant {
        match (&self.state, &self.timers.0) {
            (State::Idle(at), _) => *at,
            (State::Exact(sleep), _) => sleep.deadline(),
            (State::Coarse(key), Some(wheel)) => wheel.moment_of(*key),
            // proven: who has no wheel is in none.
            (State::Coarse(_), None) => Instant::now(),
        }
    }

    /// Moves it to another moment.
    pub fn reset(&mut self, at: Instant) {
        self.forget();
        self.state = State::Idle(at);
    }

    fn forget(&self) {
        if let (State::Coarse(key), Some(wheel)) = (&self.state, &self.timers.0) {
            // The last waker of a task drops its future, and other alarms with it: not before the borrow has ended.
            let _waker = wheel.turning.borrow_mut().remove(*key);
        }
    }

    /// Whether it waits in the wheel from now on.
    fn enter_wheel(&mut self, at: Instant, waker: &Waker) -> bool {
        let Some(wheel) = &self.timers.0 else { return false };
        let (tick, into_tick) = wheel.place_of(at);
        // What is decades away is none of the wheel's.
        let Ok(short_tick) = u32::try_from(tick) else { return false };
        // This tick has begun, or the wheel might not get to it in time. Where the last look at the clock leaves no doubt, it is
        // not looked at again; if that was long ago, the wheel gets to the alarm at once, and finds the same.
        if tick <= wheel.seen.get() + NEAR && tick <= wheel.present_tick() + 1 {
            return false;
        }
        let (key, driver) = wheel.turning.borrow_mut().insert(short_tick, into_tick, waker.clone());
        if let Some(driver) = driver {
            driver.wake();
        }
        self.state = State::Coarse(key);
        true
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match (&mut this.state, &this.timers.0) {
            (State::Exact(sleep), _) => return sleep.as_mut().poll(cx),
            (State::Coarse(key), Some(wheel)) => {
                let mut replaced = None;
                if wheel.turning.borrow_mut().waits(*key, cx.waker(), &mut replaced) {
                    return Poll::Pending;
                }
            }
            (State::Idle(at), _) => {
                let at = *at;
                if this.enter_wheel(at, cx.waker()) {
                    return Poll::Pending;
                }
            }
            (State::Coarse(_), None) => {}
        }
        let mut sleep = Box::pin(sleep_until(this.moment()));
        let outcome = sleep.as_mut().poll(cx);
        this.forget();
        this.state = State::Exact(sleep);
        outcome
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.forget();
    }
}

struct Wheel {
    origin: Instant,
    /// The last tick that is known to have begun.
    seen: Cell<u64>,
    turning: RefCell<Turning>,
}

impl Wheel {
    /// The tick that a moment is in.
    fn tick_of(&self, at: Instant) -> u64 {
        self.place_of(at).0
    }

    /// The tick that a moment is in, and how many nanoseconds after its beginning.
    fn place_of(&self, at: Instant) -> (u64, u32) {
        let since = at.saturating_duration_since(self.origin);
        let (ticks, into_tick) =
            (since.subsec_nanos() / TICK.subsec_nanos(), since.subsec_nanos() % TICK.subsec_nanos());
        (since.as_secs() * u64::from(TICKS_PER_SECOND) + u64::from(ticks), into_tick)
    }

    /// When an alarm goes off that waits here.
    fn moment_of(&self, key: u32) -> Instant {
        let turning = self.turning.borrow();
        match turning.waiting.get(key as usize) {
            Some(entry) => self.start_of(entry.tick.into()) + Duration::from_nanos(entry.into_tick.into()),
            // proven: an entry is there as long as its alarm says that it waits here.
            None => Instant::now(),
        }
    }

    fn present_tick(&self) -> u64 {
        let tick = self.tick_of(Instant::now());
        self.seen.set(tick);
        tick
    }

    /// When a tick begins.
    fn start_of(&self, tick: u64) -> Instant {
        self.origin + TICK * u32::try_from(tick).unwrap_or(u32::MAX)
    }
}

/// What moves. Borrows are short, and nobody is woken or dropped under one.
struct Turning {
    waiting: Slab<Waiting>,
    slots: Box<[Slot]>,
    /// The tick that the task of the wheel waits for. It may find nothing there any more.
    armed: u64,
    driver: Option<Waker>,
}

/// An alarm in the wheel.
struct Waiting {
    tick: u32,
    /// How many nanoseconds of that tick have to pass.
    into_tick: u32,
    /// `None` once the wheel has got to it.
    waker: Option<Waker>,
    before: u32,
    after: u32,
}

/// The alarms whose ticks have the same place on the wheel.
#[derive(Clone)]
struct Slot {
    first: u32,
    /// None of them is for an earlier tick than this.
    earliest: u64,
}

impl Default for Turning {
    fn default() -> Self {
        let empty = Slot { first: NONE, earliest: u64::MAX };
        Self { waiting: Slab::new(), slots: vec![empty; SLOTS].into(), armed: u64::MAX, driver: None }
    }
}

/// The place of a tick on the wheel.
fn place(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or_default()
}

impl Turning {
    /// Adds an alarm; returns its key, and who has to be woken because it comes before all others.
    fn insert(&mut self, tick: u32, into_tick: u32, waker: Waker) -> (u32, Option<Waker>) {
        let slot = &mut self.slots[place(tick.into())];
        slot.earliest = slot.earliest.min(tick.into());
        let entry = Waiting { tick, into_tick, waker: Some(waker), before: NONE, after: slot.first };
        // proven: there is not the memory for so many.
        let key = u32::try_from(self.waiting.insert(entry)).unwrap_or(NONE);
        let after = std::mem::replace(&mut slot.first, key);
        if let Some(next) = self.waiting.get_mut(after as usize) {
            next.before = key;
        }
        let comes_first = u64::from(tick) < self.armed;
        self.armed = self.armed.min(tick.into());
        (key, if comes_first { self.driver.take() } else { None })
    }

    /// Whether the wheel has still to get to an alarm; it wakes this task then.
    fn waits(&mut self, key: u32, waker: &Waker, replaced: &mut Option<Waker>) -> bool {
        let entry = self.waiting.get_mut(key as usize);
        let Some(present) = entry.and_then(|entry| entry.waker.as_mut()) else { return false };
        if !present.will_wake(waker) {
            *replaced = Some(std::mem::replace(present, waker.clone()));
        }
        true
    }

    fn remove(&mut self, key: u32) -> Option<Waker> {
        let waker = self.unlink(key);
        self.waiting.try_remove(key as usize);
        waker
    }

    /// Takes an alarm off its list, if it is still there.
    fn unlink(&mut self, key: u32) -> Option<Waker> {
        let entry = self.waiting.get_mut(key as usize)?;
        let waker = entry.waker.take()?;
        let (tick, before, after) = (entry.tick, entry.before, entry.after);
        match self.waiting.get_mut(before as usize) {
            Some(entry) => entry.after = after,
            None => self.slots[place(tick.into())].first = after,
        }
        if let Some(entry) = self.waiting.get_mut(after as usize) {
            entry.before = before;
        }
        Some(waker)
    }

    /// Takes the wakers of all alarms up to a tick, and finds out which tick is next.
    fn advance(&mut self, now: u64) -> SmallVec<[Waker; 4]> {
        let mut due = SmallVec::new();
        for at in 0..self.slots.len() {
            if self.slots[at].earliest > now {
                continue;
            }
            let (mut key, mut earliest) = (self.slots[at].first, u64::MAX);
            while let Some(entry) = self.waiting.get(key as usize) {
                let (this, tick) = (key, u64::from(entry.tick));
                key = entry.after;
                if tick <= now {
                    due.extend(self.unlink(this));
                } else {
                    earliest = earliest.min(tick);
                }
            }
            self.slots[at].earliest = earliest;
        }
        self.armed = self.slots.iter().map(|slot| slot.earliest).min().unwrap_or(u64::MAX);
        due
    }
}

/// Turns a wheel for ever.
async fn turn(wheel: Rc<Wheel>) -> Infallible {
    let mut sleep = std::pin::pin!(sleep_until(wheel.origin));
    poll_fn(|cx| {
        loop {
            let now = wheel.present_tick();
            let due = wheel.turning.borrow_mut().advance(now);
            due.into_iter().for_each(Waker::wake);
            let mut turning = wheel.turning.borrow_mut();
            turning.driver = Some(cx.waker().clone());
            let armed = turning.armed;
            drop(turning);
            if armed == u64::MAX {
                return Poll::Pending;
            }
            sleep.as_mut().reset(wheel.start_of(armed));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
