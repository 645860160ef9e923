//! A resolver configuration that works inside pods.

use std::fmt::Write;
use std::net::IpAddr;

/// What a `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Servers, in order.
    pub nameservers: Vec<IpAddr>,
    /// Search list.
    pub search: Vec<String>,
    /// Options such as `ndots:1`.
    pub options: Vec<String>,
}

/// What pods get, and what the node must forward for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The file for the kubelet.
    pub pods: Resolv,
    /// Servers that only this node reaches; the forwarder asks them in order. Empty when none is needed.
    pub forward_to: Vec<IpAddr>,
}

impl Resolv {
    /// Reads a file as the resolver does: unknown and malformed lines are passed over, the last `search` counts.
    pub fn parse(text: &str) -> Self {
        let mut resolv = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let values = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => resolv.nameservers.extend(values.filter_map(|v| {
                    // A zone (fe80::1%eth0) means nothing inside a pod.
                    v.parse::<IpAddr>().ok()
                })),
                Some("search" | "domain") => resolv.search = values.filter(|v| v != ".").collect(),
                Some("options") => resolv.options.extend(values),
                _ => {}
            }
        }
        resolv
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for server in &self.nameservers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }

    /// Servers that pods reach are used as they are; otherwise pods ask `forwarder` and the node asks for them.
    pub fn plan(&self, forwarder: IpAddr) -> Plan {
        let (local, usable): (Vec<IpAddr>, Vec<IpAddr>) = self
            .nameservers
            .iter()
            .partition(|server| server.is_loopback());
        let mut pods = self.clone();
        if usable.is_empty() {
            pods.nameservers = vec![forwarder];
            Plan {
                pods,
                forward_to: local,
            }
        } else {
            // The resolver reads three servers; kubelet warns about more.
            pods.nameservers = usable.into_iter().take(3).collect();
            Plan {
                pods,
                forward_to: Vec::new(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn dockers_resolver_never_reaches_a_pod() {
        let text =
            "# made by Docker\nnameserver 127.0.0.11\nsearch corp.example\noptions edns0 ndots:0\n";
        let plan = Resolv::parse(text).plan(ip("192.0.2.1"));
        assert_eq!(plan.forward_to, [ip("127.0.0.11")]);
        assert_eq!(
            plan.pods.render(),
            "nameserver 192.0.2.1\nsearch corp.example\noptions edns0 ndots:0\n"
        );
    }

    #[test]
    fn usable_servers_are_used_as_they_are() {
        let plan = Resolv::parse("nameserver ::1\nnameserver 10.0.0.2\n").plan(ip("192.0.2.1"));
        assert_eq!(plan.forward_to, Vec::<IpAddr>::new());
        assert_eq!(plan.pods.nameservers, [ip("10.0.0.2")]);
    }

    #[test]
    fn an_empty_file_leaves_pods_a_server_that_answers() {
        let plan = Resolv::parse("; nothing\nsearch .\n").plan(ip("192.0.2.1"));
        assert_eq!(plan.pods.nameservers, [ip("192.0.2.1")]);
        assert_eq!(plan.pods.search, Vec::<String>::new());
    }

    #[test]
    fn at_most_three_servers_are_kept() {
        let text = "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4";
        assert_eq!(
            Resolv::parse(text)
                .plan(ip("192.0.2.1"))
                .pods
                .nameservers
                .len(),
            3
        );
    }
}
