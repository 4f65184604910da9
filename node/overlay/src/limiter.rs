use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So many at once, and so many a second after that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled: now }
    }

    /// Whether there is one to take.
    ///
    /// # Errors
    /// How long to wait for it.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens =
            (self.tokens + passed * f64::from(self.rate.per_second)).min(f64::from(self.rate.burst));
        self.filled = now;
        if self.tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / f64::from(self.rate.per_second)))
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.check(now)?;
        self.tokens -= 1.0;
        Ok(())
    }

    fn is_full_at(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens + passed * f64::from(self.rate.per_second) >= f64::from(self.rate.burst)
    }
}

/// A bucket for each key, as many keys as are bounded.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    keys_max: usize,
    buckets: BTreeMap<K, Bucket>,
}

impl<K: Ord + Clone> Buckets<K> {
    pub(crate) fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, keys_max, buckets: BTreeMap::new() }
    }

    /// Whether the key may once more. A key that would be one too many may not: full buckets are forgotten first.
    pub(crate) fn take(&mut self, key: K, now: Instant) -> bool {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= self.keys_max {
            self.buckets.retain(|_, bucket| !bucket.is_full_at(now));
            if self.buckets.len() >= self.keys_max {
                return false;
            }
        }
        self.buckets.entry(key).or_insert_with(|| Bucket::new(self.rate, now)).take(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 10 };

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let wait = bucket.take(start).expect_err("a fourth waits");
        assert!(wait <= Duration::from_millis(100));
        assert_eq!(bucket.take(start + Duration::from_millis(101)), Ok(()));
        assert!(bucket.take(start + Duration::from_millis(102)).is_err());
    }

    #[test]
    fn a_flood_of_keys_is_refused_until_old_ones_are_full_again() {
        let start = Instant::now();
        let mut buckets = Buckets::new(RATE, 2);
        assert!(buckets.take(1, start) && buckets.take(2, start));
        assert!(!buckets.take(3, start), "a third key");
        assert!(buckets.take(1, start), "a known key still has what is left of its burst");
        assert!(buckets.take(3, start + Duration::from_secs(1)));
    }
}
