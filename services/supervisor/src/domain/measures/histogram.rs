//! A histogram of cumulative buckets, and what it says of a quantile.

use super::exposition::Sample;

/// Buckets that more bounds than our parts have can't outgrow.
const MOST_BUCKETS: usize = 64;

/// Counts by upper bound; each holds those below it as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// By bound, ascending.
    buckets: Vec<(f64, f64)>,
    /// Everything, the bucket without a bound.
    total: f64,
}

impl Histogram {
    /// Adds a `_bucket` of one series; those of several series are summed up.
    pub(super) fn add_bucket(&mut self, sample: &Sample<'_>) {
        let Some(bound) = sample.label("le") else {
            return;
        };
        if bound == "+Inf" {
            self.total += sample.value;
        } else if let Ok(bound) = bound.parse::<f64>() {
            self.add(bound, sample.value);
        }
    }

    fn add(&mut self, bound: f64, count: f64) {
        if !bound.is_finite() {
            return;
        }
        match self
            .buckets
            .binary_search_by(|(known, _)| known.total_cmp(&bound))
        {
            Ok(at) => {
                if let Some((_, known)) = self.buckets.get_mut(at) {
                    *known += count;
                }
            }
            Err(at) if self.buckets.len() < MOST_BUCKETS => self.buckets.insert(at, (bound, count)),
            Err(_) => {}
        }
    }

    /// How many were measured.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// What was measured since `earlier`, which is of the same process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let known = earlier.buckets.iter().find(|(known, _)| *known == bound);
            known.map_or(0.0, |(_, count)| *count)
        };
        Self {
            buckets: self
                .buckets
                .iter()
                .map(|&(bound, count)| (bound, (count - before(bound)).max(0.0)))
                .collect(),
            total: (self.total - earlier.total).max(0.0),
        }
    }

    /// Below what value a share of what was measured lies: interpolated within its bucket, as Prometheus does, and the
    /// largest bound where it lies above that. `None` where nothing was measured.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let (largest, _) = self.buckets.last()?;
        if self.total <= 0.0 {
            return None;
        }
        let rank = share * self.total;
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= rank && count > below {
                return Some(lower + (bound - lower) * ((rank - below) / (count - below)));
            }
            (lower, below) = (bound, count.max(below));
        }
        Some(*largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 30.0];

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for bound in BOUNDS {
            let count = values.iter().filter(|value| **value <= bound).count();
            histogram.add(bound, count as f64);
        }
        histogram.total = values.len() as f64;
        histogram
    }

    /// The bucket that holds a value.
    fn bucket(value: f64) -> (f64, f64) {
        let upper = BOUNDS.iter().position(|bound| value <= *bound);
        let upper = upper.unwrap_or(BOUNDS.len() - 1);
        (
            if upper == 0 { 0.0 } else { BOUNDS[upper - 1] },
            BOUNDS[upper],
        )
    }

    #[test]
    fn nothing_measured_says_nothing() {
        assert_eq!(Histogram::default().quantile(0.99), None);
        assert_eq!(of(&[]).quantile(0.99), None);
    }

    #[test]
    fn beyond_the_largest_bound_is_the_largest_bound() {
        assert_eq!(of(&[100.0, 200.0]).quantile(0.99), Some(30.0));
    }

    proptest! {
        #[test]
        fn lies_in_the_bucket_of_the_true_quantile(
            mut values in prop::collection::vec(0.0001..100.0_f64, 1..200),
            share in 0.01..1.0_f64,
        ) {
            values.sort_by(f64::total_cmp);
            let rank = (share * values.len() as f64).ceil() as usize;
            let (lower, upper) = bucket(values[rank.clamp(1, values.len()) - 1]);
            let found = of(&values).quantile(share).unwrap();
            prop_assert!(lower <= found && found <= upper, "{} in {}..{}", found, lower, upper);
        }

        #[test]
        fn grows_with_the_share(
            values in prop::collection::vec(0.0001..100.0_f64, 1..200),
            (one, other) in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let histogram = of(&values);
            let (less, more) = (one.min(other), one.max(other));
            prop_assert!(histogram.quantile(less) <= histogram.quantile(more));
        }

        #[test]
        fn what_came_later_is_what_was_added(
            before in prop::collection::vec(0.0001..100.0_f64, 0..50),
            later in prop::collection::vec(0.0001..100.0_f64, 0..50),
        ) {
            let all = of(&[before.clone(), later.clone()].concat());
            prop_assert_eq!(all.since(&of(&before)), of(&later));
        }
    }
}
