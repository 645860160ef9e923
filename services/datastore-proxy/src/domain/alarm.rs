//! Alarms: what is wrong with the store, and what it refuses therefore.

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The store can't be trusted: nothing is written any more.
    Corrupt,
    /// The quota is used up: nothing is added any more.
    NoSpace,
}

/// The alarms that are raised. They stay so until somebody clears them, also over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    corrupt: bool,
    no_space: bool,
}

const CORRUPT_BIT: i64 = 1;
const NO_SPACE_BIT: i64 = 2;

impl Alarms {
    /// Whether `alarm` is raised.
    pub fn has(self, alarm: Alarm) -> bool {
        match alarm {
            Alarm::Corrupt => self.corrupt,
            Alarm::NoSpace => self.no_space,
        }
    }

    /// These alarms with `alarm` raised or not.
    pub fn with(mut self, alarm: Alarm, raised: bool) -> Self {
        match alarm {
            Alarm::Corrupt => self.corrupt = raised,
            Alarm::NoSpace => self.no_space = raised,
        }
        self
    }

    /// All that are raised.
    pub fn iter(self) -> impl Iterator<Item = Alarm> {
        [Alarm::NoSpace, Alarm::Corrupt]
            .into_iter()
            .filter(move |alarm| self.has(*alarm))
    }

    /// As a number, for the store.
    pub fn to_bits(self) -> i64 {
        i64::from(self.corrupt) * CORRUPT_BIT + i64::from(self.no_space) * NO_SPACE_BIT
    }

    /// From the number of [`to_bits`](Self::to_bits).
    pub fn from_bits(bits: i64) -> Self {
        Self {
            corrupt: bits & CORRUPT_BIT != 0,
            no_space: bits & NO_SPACE_BIT != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_holds_them_all() {
        for bits in 0..4 {
            assert_eq!(Alarms::from_bits(bits).to_bits(), bits);
        }
        let full = Alarms::default().with(Alarm::NoSpace, true);
        assert_eq!(full.iter().collect::<Vec<_>>(), [Alarm::NoSpace]);
        assert_eq!(full.with(Alarm::NoSpace, false), Alarms::default());
    }
}
