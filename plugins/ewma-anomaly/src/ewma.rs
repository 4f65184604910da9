/// Mean and variance in which a value counts the less the longer ago it was (Finch, "Incremental calculation of weighted mean and
/// variance", section 9). Both are always finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    /// How much the latest value counts: more than 0, at most 1.
    pub alpha: f64,
    /// How many values there were.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The variance.
    pub variance: f64,
}

impl Ewma {
    /// Of no values yet.
    pub const fn new(alpha: f64) -> Self {
        Self { alpha, count: 0, mean: 0.0, variance: 0.0 }
    }

    /// How many standard deviations a value is above the mean. Where there is no deviation yet, any other value is infinitely far.
    pub fn score(&self, value: f64) -> f64 {
        let difference = value - self.mean;
        if self.count == 0 || difference == 0.0 {
            return 0.0;
        }
        difference / self.variance.sqrt()
    }

    /// Takes a finite value.
    pub fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.count = self.count.saturating_add(1);
        if first {
            self.mean = value;
            return;
        }
        let difference = value - self.mean;
        let step = self.alpha * difference;
        let variance = (1.0 - self.alpha) * (self.variance + difference * step);
        // A value so far away that its square is no number would make all that follow look alike.
        if variance.is_finite() {
            (self.mean, self.variance) = (self.mean + step, variance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(alpha: f64, values: &[f64]) -> Ewma {
        let mut ewma = Ewma::new(alpha);
        values.iter().for_each(|value| ewma.add(*value));
        ewma
    }

    #[test]
    fn mean_and_variance_are_those_of_the_weights() {
        // With alpha 1/2 the weights of 8, 4, 2 are 1/4, 1/4, 1/2.
        let ewma = after(0.5, &[8.0, 4.0, 2.0]);
        assert_eq!(ewma.mean, 4.0);
        assert_eq!(ewma.variance, 0.25 * 16.0 + 0.25 * 0.0 + 0.5 * 4.0);
        assert_eq!(ewma.score(4.0 + 6_f64.sqrt()), 1.0);
    }

    #[test]
    fn it_stays_finite_whatever_comes() {
        let ewma = after(0.3, &[f64::MAX, -f64::MAX, f64::MAX, 1.0, f64::MIN_POSITIVE]);
        assert!(ewma.mean.is_finite() && ewma.variance.is_finite());
    }

    #[test]
    fn values_that_are_all_alike_have_no_score() {
        let ewma = after(0.1, &[3.0; 20]);
        assert_eq!((ewma.score(3.0), ewma.score(3.5)), (0.0, f64::INFINITY));
    }
}
