//! Several addresses of one host: tried one after the other, the next one early if the one before takes its time.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/connection_pooling#happy-eyeballs-support>, after
//! RFC 8305.

use std::{collections::VecDeque, future::Future, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use underpass_core::address::Address;

/// How long an attempt has before the next one starts beside it (RFC 8305, section 5, recommends 250 ms; Envoy has 300).
const STAGGER: Duration = Duration::from_millis(300);

/// The order of the attempts: IPv4 and IPv6 take turns, starting with the kind of the first address (RFC 8305, section 4).
pub(super) fn order<'a>(first: &'a Address, others: &'a [Address]) -> Vec<&'a Address> {
    let is_v4 = |address: &Address| address.socket().is_some_and(|socket| socket.is_ipv4());
    let all = std::iter::once(first).chain(others);
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) =
        all.partition(|address| is_v4(address) == is_v4(first));
    let mut order = Vec::new();
    while let Some(address) = same.pop_front() {
        order.push(address);
        std::mem::swap(&mut same, &mut other);
        if same.is_empty() {
            std::mem::swap(&mut same, &mut other);
        }
    }
    order
}

/// The first success of up to `count` attempts (at least one); if all fail, the error of the last one.
pub(super) async fn first<T, E, F>(count: usize, attempt: impl Fn(usize) -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut under_way = FuturesUnordered::new();
    under_way.push(attempt(0));
    let mut started = 1;
    loop {
        let timer = tokio::time::sleep(STAGGER);
        tokio::select! {
            result = under_way.select_next_some() => match result {
                Ok(success) => return Ok(success),
                Err(error) if started == count && under_way.is_empty() => return Err(error),
                Err(_) if started == count => {}
                Err(_) => {
                    under_way.push(attempt(started));
                    started += 1;
                }
            },
            () = timer, if started < count => {
                under_way.push(attempt(started));
                started += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::Socket(text.parse().unwrap())).collect()
    }

    #[test]
    fn the_kinds_of_address_take_turns() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let order: Vec<_> = order(&all[0], &all[1..]).into_iter().map(Address::to_string).collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
    }

    /// What attempts do: succeed or fail after some milliseconds. Returns the result and when each one started.
    async fn race(attempts: &[(u64, bool)]) -> (Result<usize, usize>, Vec<u128>) {
        let start = tokio::time::Instant::now();
        let started = RefCell::new(Vec::new());
        let result = first(attempts.len(), |index| {
            started.borrow_mut().push(start.elapsed().as_millis());
            let (after, success) = attempts[index];
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                if success { Ok(index) } else { Err(index) }
            }
        });
        let result = result.await;
        (result, started.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_first_attempt_stays_the_only_one() {
        assert_eq!(race(&[(10, true), (10, true)]).await, (Ok(0), vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_attempt_gets_company_and_a_failed_one_is_replaced_at_once() {
        assert_eq!(race(&[(10_000, true), (50, true)]).await, (Ok(1), vec![0, 300]));
        assert_eq!(race(&[(20, false), (50, true)]).await, (Ok(1), vec![0, 20]));
        assert_eq!(race(&[(500, true), (10_000, true), (10, false)]).await, (Ok(0), vec![0, 300]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_counts_when_all_fail() {
        assert_eq!(race(&[(20, false), (10, false)]).await, (Err(1), vec![0, 20]));
        assert_eq!(race(&[(700, false), (10, false)]).await, (Err(0), vec![0, 300]));
    }
}
