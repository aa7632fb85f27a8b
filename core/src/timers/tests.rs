use tokio::task::LocalSet;

use super::*;

/// The alarms that wait in the wheel, and those that it has not forgotten.
fn waiting(timers: &Timers) -> usize {
    timers.0.as_ref().map_or(0, |wheel| wheel.turning.borrow().waiting.len())
}

fn list_lengths(timers: &Timers) -> usize {
    let turning = timers.0.as_ref().unwrap().turning.borrow();
    let length = |slot: &Slot| {
        let next = |key: &u32| turning.waiting.get(*key as usize).map(|entry| entry.after);
        std::iter::successors(Some(slot.first), next).count() - 1
    };
    turning.slots.iter().map(length).sum()
}

/// Timers of the runtime count milliseconds.
fn assert_on_time(start: Instant, expected: Duration) {
    let late = start.elapsed().checked_sub(expected).expect("it is not early");
    assert!(late <= Duration::from_millis(1), "{expected:?}: {late:?} late");
}

async fn with_and_without_a_wheel(test: impl AsyncFn(Timers)) {
    LocalSet::new().run_until(async { test(Timers::start()).await }).await;
    test(Timers::default()).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_goes_off_at_its_moment_however_far_away_it_is() {
    with_and_without_a_wheel(async |timers| {
        for ms in [0, 1, 249, 250, 251, 499, 500, 501, 999, 5_000, 63_999, 64_000, 64_001, 3_600_000] {
            let start = Instant::now();
            timers.at(start + Duration::from_millis(ms)).await;
            assert_on_time(start, Duration::from_millis(ms));
        }
        assert_eq!(waiting(&timers), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_is_dropped_is_forgotten() {
    let test = async {
        let timers = Timers::start();
        let mut alarms: Vec<_> =
            (1..100).map(|seconds| timers.at(Instant::now() + Duration::from_secs(seconds))).collect();
        for alarm in &mut alarms {
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut *alarm).poll(cx).is_pending())).await);
        }
        assert_eq!((waiting(&timers), list_lengths(&timers)), (99, 99));
        // From the middle, the beginning and the end of lists.
        for left in (0..99_usize).rev() {
            drop(alarms.swap_remove(left * 7 % (left + 1)));
            assert_eq!((waiting(&timers), list_lengths(&timers)), (left, left));
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_can_be_moved_either_way() {
    with_and_without_a_wheel(async |timers| {
        for (first, then) in [(10, 3_600), (3_600, 10), (3_600, 0)] {
            let start = Instant::now();
            let mut alarm = timers.at(start + Duration::from_secs(first));
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut alarm).poll(cx).is_pending())).await);
            assert_eq!(alarm.moment(), start + Duration::from_secs(first));
            alarm.reset(start + Duration::from_secs(then));
            assert_eq!(alarm.moment(), start + Duration::from_secs(then));
            alarm.await;
            assert_eq!(start.elapsed().as_secs(), then);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_alarms_go_off_in_turn_while_others_are_dropped() {
    let test = async {
        let timers = Timers::start();
        let start = Instant::now();
        let mut random = fastrand::Rng::with_seed(4);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..2_000 {
            let limit = Duration::from_millis(random.u64(0..200_000));
            let dropped_after = Duration::from_millis(random.u64(0..200_000));
            let timers = timers.clone();
            tasks.spawn_local(async move {
                let work = tokio::time::sleep(dropped_after);
                let outcome = timers.timeout(limit, work).await;
                let expected = limit.min(dropped_after);
                assert_eq!(outcome.is_err(), limit < dropped_after);
                assert_on_time(start, expected);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert_eq!((waiting(&timers), list_lengths(&timers)), (0, 0));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_wakes_the_task_that_polled_it_last() {
    let test = async {
        let timers = Timers::start();
        let mut alarm = timers.at(Instant::now() + Duration::from_secs(5));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut alarm).poll(&mut nobody).is_pending());
        tokio::task::spawn_local(alarm).await.unwrap();
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn an_alarm_takes_little_memory() {
    assert!(size_of::<Alarm>() <= 24, "{} bytes", size_of::<Alarm>());
    assert!(size_of::<Waiting>() <= 32, "{} bytes", size_of::<Waiting>());
}
