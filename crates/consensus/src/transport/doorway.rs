//! Connections that have not shaken hands yet: a few at a time, and the newest always gets its chance.
//!
//! Anyone can open connections and be silent. A handshake between members takes milliseconds; so when the
//! places are full, the connection that has been at it for longest is the most likely stranger, and goes.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

/// The places, in the order in which they were taken.
#[derive(Debug)]
pub(super) struct Handshakes {
    under_way: VecDeque<CancellationToken>,
    max: usize,
}

/// A place. It is free again when the handshake is over.
#[derive(Debug)]
pub(super) struct Handshake {
    evicted: CancellationToken,
}

impl Handshakes {
    pub(super) fn new(max: usize) -> Self {
        Self { under_way: VecDeque::new(), max }
    }

    /// Takes a place, if need be that of the one who came first.
    pub(super) fn begin(&mut self) -> Handshake {
        self.under_way.retain(|evicted| !evicted.is_cancelled());
        while self.under_way.len() >= self.max.max(1) {
            let Some(first) = self.under_way.pop_front() else { break };
            first.cancel();
        }
        let evicted = CancellationToken::new();
        self.under_way.push_back(evicted.clone());
        Handshake { evicted }
    }
}

impl Handshake {
    /// Shakes hands, unless the place is taken away meanwhile.
    pub(super) async fn within<T>(self, shake_hands: impl Future<Output = T>) -> Option<T> {
        self.evicted.run_until_cancelled(shake_hands).await
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        // Marks the place as free.
        self.evicted.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_first_one_makes_room_for_the_newest() {
        let mut handshakes = Handshakes::new(2);
        let (first, second) = (handshakes.begin(), handshakes.begin());
        assert_eq!(second.within(ready(2)).await, Some(2), "its place is free again");
        let third = handshakes.begin();
        assert!(!first.evicted.is_cancelled());
        let fourth = handshakes.begin();
        assert_eq!(first.within(pending::<()>()).await, None);
        assert_eq!(third.within(ready(3)).await, Some(3));
        assert_eq!(fourth.within(ready(4)).await, Some(4));
    }
}
