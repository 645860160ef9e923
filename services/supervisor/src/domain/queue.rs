//! A fair queue in the datastore: whoever's key was created first is at the head. Leadership and restart permits
//! both are such queues; every key dies with its replica's lease.

/// One place in a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Revision at which the key was created: the order of arrival.
    pub created: i64,
    /// The key.
    pub key: String,
    /// Who waits, for people to read.
    pub holder: String,
}

/// Where a ticket stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The key is gone: its lease ended.
    Gone,
    /// At the head.
    Head,
    /// Behind this holder.
    Waiting(String),
}

/// Finds the place of `key` among all tickets of its queue.
pub fn place<'a>(tickets: impl IntoIterator<Item = &'a Ticket>, key: &str) -> Place {
    let mut head: Option<&Ticket> = None;
    let mut present = false;
    for ticket in tickets {
        present |= ticket.key == key;
        if head.is_none_or(|h| ticket < h) {
            head = Some(ticket);
        }
    }
    match head {
        Some(head) if head.key == key => Place::Head,
        Some(head) if present => Place::Waiting(head.holder.clone()),
        _ => Place::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(created: i64, key: &str) -> Ticket {
        Ticket {
            created,
            key: key.into(),
            holder: format!("holder of {key}"),
        }
    }

    #[test]
    fn the_first_to_come_is_the_head() {
        let tickets = [ticket(9, "a"), ticket(3, "b"), ticket(5, "c")];
        assert_eq!(place(&tickets, "b"), Place::Head);
        assert_eq!(place(&tickets, "a"), Place::Waiting("holder of b".into()));
        assert_eq!(place(&tickets, "z"), Place::Gone);
        assert_eq!(place(&[], "z"), Place::Gone);
    }

    proptest! {
        #[test]
        fn exactly_one_is_the_head(created in proptest::collection::hash_set(0_i64..100, 1..8)) {
            let tickets: Vec<_> = created.iter().map(|c| ticket(*c, &format!("k{c}"))).collect();
            let heads: Vec<_> = tickets.iter().filter(|t| place(&tickets, &t.key) == Place::Head).collect();
            prop_assert_eq!(heads.len(), 1);
            prop_assert_eq!(Some(heads[0].created), created.iter().min().copied());
        }
    }
}
