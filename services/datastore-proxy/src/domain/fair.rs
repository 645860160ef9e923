//! Waiting work of several callers, served in turn: whoever asks much waits behind itself, not before the others.

use std::collections::VecDeque;

/// A lane for each caller that has something waiting. Within a lane, first come, first served.
#[derive(Debug)]
pub struct Fair<T> {
    /// The front one is served next. None is empty.
    lanes: VecDeque<VecDeque<T>>,
    /// Whose work it is.
    caller: fn(&T) -> &str,
    /// How much may wait in a lane.
    bound: usize,
}

impl<T> Fair<T> {
    /// Empty, for at most `bound` of each caller.
    pub fn new(bound: usize, caller: fn(&T) -> &str) -> Self {
        Self {
            lanes: VecDeque::new(),
            caller,
            bound,
        }
    }

    /// Lets `work` wait, or gives it back if too much of the same caller waits.
    pub fn push(&mut self, work: T) -> Result<(), T> {
        let caller = self.caller;
        let same = |lane: &VecDeque<T>| lane.front().map(caller) == Some(caller(&work));
        match self.lanes.iter().position(same) {
            None => self.lanes.push_back(VecDeque::from([work])),
            Some(at) => match self.lanes.get_mut(at) {
                Some(lane) if lane.len() < self.bound => lane.push_back(work),
                _ => return Err(work),
            },
        }
        Ok(())
    }

    /// What is to be done next.
    pub fn pop(&mut self) -> Option<T> {
        let mut lane = self.lanes.pop_front()?;
        let work = lane.pop_front();
        if !lane.is_empty() {
            self.lanes.push_back(lane);
        }
        work
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const CALLERS: [&str; 3] = ["kube-apiserver", "supervisor", "token-service"];

    type Work = (&'static str, usize);

    fn fair(bound: usize) -> Fair<Work> {
        Fair::new(bound, |(caller, _)| caller)
    }

    #[test]
    fn one_request_does_not_wait_for_a_thousand_of_somebody_else() {
        let mut fair = fair(1000);
        for number in 0..1000 {
            fair.push(("token-service", number)).unwrap();
        }
        let one = ("kube-apiserver", 0);
        fair.push(one).unwrap();
        assert_eq!(
            [fair.pop(), fair.pop()],
            [Some(("token-service", 0)), Some(one)]
        );
    }

    #[test]
    fn a_full_lane_leaves_the_others_open() {
        let mut fair = fair(1);
        fair.push(("token-service", 1)).unwrap();
        assert_eq!(fair.push(("token-service", 2)), Err(("token-service", 2)));
        assert_eq!(fair.push(("kube-apiserver", 3)), Ok(()));
        assert_eq!(fair.len(), 2);
    }

    proptest! {
        /// Against plain queues: nothing is lost, each caller's work keeps its order, and nobody is served twice while
        /// somebody else waits who was there before.
        #[test]
        fn takes_turns(steps in prop::collection::vec((0usize..4, any::<bool>()), 1..300)) {
            let mut fair = fair(5);
            let mut model: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
            // Who has waited since when, counted in turns.
            let mut since: BTreeMap<&str, usize> = BTreeMap::new();
            let mut served: BTreeMap<&str, usize> = BTreeMap::new();
            for (turn, (which, pops)) in steps.into_iter().enumerate() {
                match CALLERS.get(which) {
                    Some(caller) if !pops => {
                        let lane = model.entry(caller).or_default();
                        let taken = fair.push((caller, turn)).is_ok();
                        prop_assert_eq!(taken, lane.len() < 5);
                        if taken {
                            if lane.is_empty() {
                                since.insert(caller, turn);
                            }
                            lane.push_back(turn);
                        }
                    }
                    _ => {
                        let Some((caller, work)) = fair.pop() else {
                            prop_assert!(model.values().all(VecDeque::is_empty));
                            continue;
                        };
                        prop_assert_eq!(model.get_mut(caller).unwrap().pop_front(), Some(work));
                        // Of those who wait, the one whose last turn, or whose arrival, is longest ago.
                        let age = |name: &str| {
                            let began = since.get(name).copied().unwrap_or_default();
                            served.get(name).map_or(began, |at| began.max(*at))
                        };
                        for (other, lane) in &model {
                            prop_assert!(lane.is_empty() || *other == caller || age(caller) < age(other));
                        }
                        served.insert(caller, turn);
                    }
                }
                prop_assert_eq!(fair.len(), model.values().map(VecDeque::len).sum::<usize>());
            }
        }
    }
}
