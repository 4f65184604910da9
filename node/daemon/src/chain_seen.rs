use crate::config::ChainConfig;
use std::time::{Duration, Instant};

/// What is known of the chain that streams and rights come from: while it is silent they stay as they were, and what was
/// revoked since is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainSeen {
    /// The block that the follower shows.
    pub(crate) head: u64,
    /// When the chain last answered.
    answered: Instant,
    /// When `head` last moved.
    moved: Instant,
}

impl ChainSeen {
    pub(crate) const fn new(head: u64, now: Instant) -> Self {
        Self { head, answered: now, moved: now }
    }

    /// Takes an answer in; says whether the head moved.
    pub(crate) fn hear(&mut self, head: Option<u64>, now: Instant) -> bool {
        self.answered = now;
        let Some(head) = head.filter(|head| *head != self.head) else { return false };
        (self.head, self.moved) = (head, now);
        true
    }

    /// Since the chain last answered.
    pub(crate) fn answer_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.answered)
    }

    /// Since its head last moved.
    pub(crate) fn head_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved)
    }

    /// Why rights cannot be relied on, if they cannot.
    pub(crate) fn trouble(&self, bounds: &ChainConfig, now: Instant) -> Option<String> {
        let over = |age: Duration, max_s: u64| max_s > 0 && age > Duration::from_secs(max_s);
        let (answer, head) = (self.answer_age(now), self.head_age(now));
        let what = if over(answer, bounds.answer_age_s_max) {
            format!("the chain has not answered for {} seconds", answer.as_secs())
        } else if over(head, bounds.head_age_s_max) {
            format!("the chain has had no new block for {} seconds", head.as_secs())
        } else {
            return None;
        };
        Some(format!("degraded: {what}; streams and rights are those of block {}", self.head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_silent_or_stands_still_for_too_long_is_trouble() {
        let bounds = ChainConfig { answer_age_s_max: 60, head_age_s_max: 100, ..ChainConfig::default() };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = ChainSeen::new(7, start);
        assert_eq!(seen.trouble(&bounds, at(60)), None);
        assert!(seen.trouble(&bounds, at(61)).unwrap().contains("not answered for 61 seconds"));
        assert!(!seen.hear(Some(7), at(90)));
        assert_eq!(seen.trouble(&bounds, at(100)), None);
        let why = seen.trouble(&bounds, at(101)).unwrap();
        assert!(why.contains("no new block for 101 seconds") && why.contains("block 7"), "{why}");
        assert!(seen.hear(Some(8), at(102)));
        assert_eq!(seen.trouble(&bounds, at(110)), None);
        let never = ChainConfig { answer_age_s_max: 0, head_age_s_max: 0, ..ChainConfig::default() };
        assert_eq!(seen.trouble(&never, at(100_000)), None);
    }
}
