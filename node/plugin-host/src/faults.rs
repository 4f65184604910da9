use crate::Fault;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long a fault is held against a plugin.
const WINDOW: Duration = Duration::from_secs(60);

/// Whether a plugin is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is.
    On,
    /// It is not, until it is loaded again.
    Off {
        /// Why, and what to do.
        reason: String,
    },
}

/// Switches a plugin off that has too many faults.
#[derive(Debug)]
pub(crate) struct Switch {
    faults_max: u32,
    recent: Mutex<VecDeque<Instant>>,
    off: OnceLock<String>,
}

impl Switch {
    pub(crate) fn new(faults_max: u32) -> Self {
        Self { faults_max, recent: Mutex::default(), off: OnceLock::new() }
    }

    /// Takes a fault in; true if it is the one that switches off.
    pub(crate) fn take(&self, fault: &Fault, now: Instant) -> bool {
        let mut recent = self.recent.lock();
        recent.retain(|then| now.saturating_duration_since(*then) < WINDOW);
        recent.push_back(now);
        if recent.len() <= self.faults_max as usize {
            return false;
        }
        // No more than one over the bound is ever needed.
        recent.pop_front();
        let reason = format!(
            "it had more than {} faults in a minute, the last one: {fault}; mend it and load it again",
            self.faults_max
        );
        self.off.set(reason).is_ok()
    }

    /// Why it is off, if it is.
    pub(crate) fn off(&self) -> Option<&str> {
        self.off.get().map(String::as_str)
    }

    pub(crate) fn status(&self) -> Status {
        match self.off() {
            Some(reason) => Status::Off { reason: reason.into() },
            None => Status::On,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_up_to_the_bound_do_not_switch_off_and_one_more_does() {
        let (switch, now) = (Switch::new(3), Instant::now());
        for _ in 0..3 {
            assert!(!switch.take(&Fault::Deadline(100), now));
        }
        assert_eq!(switch.status(), Status::On);
        assert!(switch.take(&Fault::Deadline(100), now));
        assert!(matches!(switch.status(), Status::Off { .. }));
        assert!(!switch.take(&Fault::Deadline(100), now), "it was off already");
    }

    #[test]
    fn faults_of_more_than_a_minute_ago_are_forgotten() {
        let (switch, start) = (Switch::new(3), Instant::now());
        for n in 0..100 {
            assert!(!switch.take(&Fault::OutOfFuel(8), start + n * Duration::from_secs(20)));
        }
    }

    #[test]
    fn a_bound_of_none_switches_off_at_the_first() {
        assert!(Switch::new(0).take(&Fault::OutOfFuel(1), Instant::now()));
    }
}
