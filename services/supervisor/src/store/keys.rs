//! The names of our keys.

/// Everything of ours is under this.
pub const PREFIX: &str = "/sextant/supervisor/";
/// Set once RBAC stands and the bootstrap profile is closed.
pub const BOOTSTRAP: &str = "/sextant/supervisor/bootstrap";
/// Which objects the add-ons consist of, for pruning.
pub const INVENTORY: &str = "/sextant/supervisor/inventory";

/// A key of ours, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The registration of a node.
    Node(&'a str),
    /// A session of a node with a replica.
    Session {
        /// The node.
        node: &'a str,
        /// The replica.
        replica: &'a str,
    },
    /// A place in a queue.
    Ticket {
        /// The queue.
        queue: &'a str,
    },
}

impl<'a> Key<'a> {
    /// Takes a key apart; `None` for the others.
    pub fn parse(key: &'a str) -> Option<Self> {
        let mut parts = key.strip_prefix(PREFIX)?.split('/');
        let parsed = match (parts.next()?, parts.next()?, parts.next()) {
            ("nodes", name, None) => Self::Node(name),
            ("sessions", node, Some(replica)) => Self::Session { node, replica },
            ("queues", queue, Some(_)) => Self::Ticket { queue },
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// Registration of a node.
pub fn node(name: &str) -> String {
    format!("{PREFIX}nodes/{name}")
}

/// Session of a node with a replica.
pub fn session(node: &str, replica: &str) -> String {
    format!("{PREFIX}sessions/{node}/{replica}")
}

/// A place in a queue.
pub fn ticket(queue: &str, id: &str) -> String {
    format!("{PREFIX}queues/{queue}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_as_they_were_made() {
        assert_eq!(Key::parse(&node("n")), Some(Key::Node("n")));
        assert_eq!(
            Key::parse(&session("n", "r")),
            Some(Key::Session {
                node: "n",
                replica: "r"
            })
        );
        assert_eq!(
            Key::parse(&ticket("leader", "r")),
            Some(Key::Ticket { queue: "leader" })
        );
        for other in [
            BOOTSTRAP,
            INVENTORY,
            "/registry/pods",
            "/sextant/supervisor/nodes/a/b",
        ] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }
}
