//! The node's own packet tables: a pod sends from its own address only; pods leave the cluster under the node's
//! address, among each other they keep their own, and they don't reach the supervisors.

use super::nft::Nft;
use crate::error::Error;
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;

const TABLE: &str = "inet sextant-node";
/// Only for the look at the routes: kube-proxy needs the kernel's module for that in this family too, not in `inet`.
const SOURCES: &str = "ip sextant-node";
/// Ends of pods' interfaces, as ptp names them.
const PODS: &str = "veth*";

/// What the table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// This node's pods.
    pub(super) pods: Ipv4Net,
    /// All pods.
    pub(super) cluster: Ipv4Net,
    /// Supervisors as this node reaches them: the control plane's port for nodes and operators, not for pods.
    pub(super) supervisors: BTreeSet<SocketAddrV4>,
}

impl Rules {
    /// The tables, replaced as a whole in one transaction.
    fn render(&self) -> String {
        let Self { pods, cluster, .. } = self;
        format!(
            "{}\
             table {TABLE}\n\
             delete table {TABLE}\n\
             table {TABLE} {{\n\
             \tchain prerouting {{\n\
             \t\ttype filter hook prerouting priority raw; policy accept;\n\
             \t\tiifname \"{PODS}\" meta nfproto ipv6 drop\n\
             \t}}\n\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter; policy accept;\n\
             {}\
             \t}}\n\
             \tchain postrouting {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tip saddr {pods} ip daddr != {{ {cluster}, 224.0.0.0/4 }} oifname != \"lo\" masquerade fully-random\n\
             \t}}\n\
             }}\n",
            sources(),
            self.refusal()
        )
    }

    /// The forward hook comes after destination NAT, so a Service that leads there is refused too.
    fn refusal(&self) -> String {
        if self.supervisors.is_empty() {
            return String::new();
        }
        let places = self
            .supervisors
            .iter()
            .map(|s| format!("{} . {}", s.ip(), s.port()));
        let places = places.collect::<Vec<_>>().join(", ");
        format!(
            "\t\tip saddr {} ip daddr . tcp dport {{ {places} }} reject with icmp admin-prohibited\n",
            self.pods
        )
    }
}

/// Policy judges pods by their addresses, so a packet from a pod must have one that leads back into the interface
/// it came from. The kernel's own `rp_filter` won't do: set to loose for `all`, by the host even, it is loose
/// everywhere. Before connection tracking, so that what is dropped leaves no trace there. Pods have no IPv6 address.
fn sources() -> String {
    format!(
        "table {SOURCES}\n\
         delete table {SOURCES}\n\
         table {SOURCES} {{\n\
         \tchain prerouting {{\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname \"{PODS}\" fib saddr . iif oif missing drop\n\
         \t}}\n\
         }}\n"
    )
}

/// Keeps the tables as they should be.
#[derive(Debug, Default)]
pub(super) struct Table {
    applied: Option<String>,
}

impl Table {
    /// Writes the tables if they changed or if somebody removed one.
    pub(super) async fn ensure(&mut self, nft: &Nft, rules: &Rules) -> Result<(), Error> {
        let wanted = rules.render();
        let applied = self.applied.as_deref() == Some(wanted.as_str());
        if applied && nft.has(TABLE).await && nft.has(SOURCES).await {
            return Ok(());
        }
        nft.apply(&wanted).await?;
        self.applied = Some(wanted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            pods: "10.244.1.0/24".parse().unwrap(),
            cluster: "10.244.0.0/16".parse().unwrap(),
            supervisors: BTreeSet::from(["172.18.0.2:9443".parse().unwrap()]),
        }
    }

    #[test]
    fn traffic_inside_the_cluster_keeps_its_addresses() {
        let text = rules().render();
        assert!(text.contains("ip saddr 10.244.1.0/24 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 }"));
        assert!(text.contains("masquerade"));
    }

    #[test]
    fn pods_are_kept_from_the_supervisors() {
        let refusal = "ip saddr 10.244.1.0/24 ip daddr . tcp dport { 172.18.0.2 . 9443 } reject";
        assert!(rules().render().contains(refusal));
        let nobody = Rules {
            supervisors: BTreeSet::new(),
            ..rules()
        };
        assert!(!nobody.render().contains("reject"));
    }
}
