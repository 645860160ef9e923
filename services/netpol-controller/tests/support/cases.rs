//! Policies and what they should do to real traffic: the cases of Kubernetes' own network policy tests, and some.
//!
//! Pods a, b, c in namespaces x, y, z, each serving 80 and 81; `outside` is no pod. The labels are `pod: <name>`
//! and `ns: <namespace>`.

use super::objects::policy;
use super::probe::Transport;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

/// Who tries to reach whom.
#[derive(Clone, Copy, Debug)]
pub struct Try<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub port: u16,
    pub transport: Transport,
    pub v6: bool,
}

impl Try<'_> {
    fn sent_in(&self, ns: &str) -> bool {
        self.from.starts_with(&format!("{ns}/"))
    }

    fn received_in(&self, ns: &str) -> bool {
        self.to.starts_with(&format!("{ns}/"))
    }

    fn sent_by(&self, pod: &str) -> bool {
        self.from.ends_with(&format!("/{pod}"))
    }

    fn tcp(&self, port: u16) -> bool {
        self.transport == Transport::Tcp && self.port == port
    }
}

/// Policies, and what gets through.
pub struct Case {
    pub name: &'static str,
    pub policies: Vec<NetworkPolicy>,
    pub passes: fn(&Try<'_>) -> bool,
}

/// In namespace x, for pod a unless the policy says otherwise.
fn in_x(spec: Value) -> Vec<NetworkPolicy> {
    vec![policy("x", "policy", spec)]
}

fn a() -> Value {
    json!({"matchLabels": {"pod": "a"}})
}

fn ns(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"ns": name}}})
}

fn from_to_a(rules: Value) -> Vec<NetworkPolicy> {
    in_x(json!({"podSelector": a(), "ingress": rules}))
}

fn to_from_a(rules: Value) -> Vec<NetworkPolicy> {
    in_x(json!({"podSelector": a(), "policyTypes": ["Egress"], "egress": rules}))
}

/// The cases. Node addresses that follow from the order of hosts: x/a is 10.244.1.1, x/b .2, x/c .3, y/a .4 and so
/// on; in IPv6 fd44::1 and so on.
pub fn cases() -> Vec<Case> {
    let mut cases = ingress_cases();
    cases.extend(egress_cases());
    cases.extend(block_cases());
    cases.extend(port_cases());
    cases
}

macro_rules! case {
    ($name:literal, $policies:expr, $passes:expr) => {
        Case {
            name: $name,
            policies: $policies,
            passes: $passes,
        }
    };
}

fn ingress_cases() -> Vec<Case> {
    vec![
        case!("no policy", vec![], |_| true),
        case!(
            "default deny ingress",
            in_x(json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
            |t| { !t.received_in("x") }
        ),
        case!(
            "deny both ways",
            in_x(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})),
            |t| { !t.received_in("x") && !t.sent_in("x") }
        ),
        case!("an empty rule allows all", from_to_a(json!([{}])), |_| true),
        case!(
            "no types and no rules deny ingress",
            in_x(json!({"podSelector": a()})),
            |t| t.to != "x/a"
        ),
        case!(
            "pod selector",
            from_to_a(json!([{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}])),
            |t| { t.to != "x/a" || t.from == "x/b" }
        ),
        case!(
            "empty pod selector is the own namespace",
            from_to_a(json!([{"from": [{"podSelector": {}}]}])),
            |t| { t.to != "x/a" || t.sent_in("x") }
        ),
        case!(
            "namespace selector",
            from_to_a(json!([{"from": [ns("y")]}])),
            |t| t.to != "x/a" || t.sent_in("y")
        ),
        case!(
            "empty namespace selector is every pod",
            from_to_a(json!([{"from": [{"namespaceSelector": {}}]}])),
            |t| { t.to != "x/a" || t.from != "outside" }
        ),
        case!(
            "namespace by the name that the API server labels it with",
            from_to_a(json!([{"from": [{"namespaceSelector":
                {"matchLabels": {"kubernetes.io/metadata.name": "z"}}}]}])),
            |t| t.to != "x/a" || t.sent_in("z")
        ),
        case!(
            "namespaces but one",
            from_to_a(
                json!([{"from": [{"namespaceSelector": {"matchExpressions": [
                {"key": "ns", "operator": "NotIn", "values": ["x"]}]}}]}])
            ),
            |t| t.to != "x/a" || t.sent_in("y") || t.sent_in("z")
        ),
        case!(
            "pod expressions",
            from_to_a(json!([{"from": [{"podSelector": {"matchExpressions": [
                {"key": "pod", "operator": "In", "values": ["b", "c"]},
                {"key": "pod", "operator": "NotIn", "values": ["c"]}]}}]}])),
            |t| t.to != "x/a" || t.from == "x/b"
        ),
        case!(
            "pod selector or namespace selector",
            from_to_a(json!([{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}, ns("y")]}])),
            |t| t.to != "x/a" || t.from == "x/b" || t.sent_in("y")
        ),
        case!(
            "pod selector and namespace selector",
            from_to_a(
                json!([{"from": [{"podSelector": {"matchLabels": {"pod": "b"}},
                "namespaceSelector": {"matchLabels": {"ns": "y"}}}]}])
            ),
            |t| t.to != "x/a" || t.from == "y/b"
        ),
        case!(
            "several of both",
            from_to_a(json!([{"from": [{
                "podSelector": {"matchExpressions": [{"key": "pod", "operator": "In", "values": ["a", "b"]}]},
                "namespaceSelector": {"matchExpressions": [{"key": "ns", "operator": "In", "values": ["y", "z"]}]}}]}])),
            |t| t.to != "x/a" || ((t.sent_in("y") || t.sent_in("z")) && !t.sent_by("c"))
        ),
        case!(
            "a selector of nobody",
            from_to_a(json!([{"from": [{"podSelector": {"matchLabels": {"no": "body"}}}]}])),
            |t| { t.to != "x/a" }
        ),
        case!(
            "rules of one policy are alternatives",
            from_to_a(json!([{"from": [ns("y")]}, {"from": [ns("z")]}])),
            |t| t.to != "x/a" || t.sent_in("y") || t.sent_in("z")
        ),
        case!(
            "allow-all beside deny",
            vec![
                policy("x", "deny", json!({"podSelector": {}, "ingress": []})),
                policy("x", "allow", json!({"podSelector": {}, "ingress": [{}]})),
            ],
            |_| true
        ),
        case!(
            "policies of other namespaces don't select",
            vec![policy("y", "deny", json!({"podSelector": {}}))],
            |t| !t.received_in("y")
        ),
    ]
}

fn egress_cases() -> Vec<Case> {
    vec![
        case!(
            "default deny egress",
            in_x(json!({"podSelector": {}, "policyTypes": ["Egress"]})),
            |t| !t.sent_in("x")
        ),
        case!(
            "an egress section isolates egress and ingress",
            in_x(json!({"podSelector": a(), "egress": [{"to": [ns("y")]}]})),
            |t| t.to != "x/a" && (t.from != "x/a" || t.received_in("y"))
        ),
        case!(
            "to a pod in another namespace",
            to_from_a(
                json!([{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}},
                "podSelector": {"matchLabels": {"pod": "b"}}}]}])
            ),
            |t| t.from != "x/a" || t.to == "y/b"
        ),
        case!(
            "allow-all egress beside deny",
            vec![
                policy(
                    "x",
                    "deny",
                    json!({"podSelector": {}, "policyTypes": ["Egress"]})
                ),
                policy(
                    "x",
                    "allow",
                    json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})
                ),
            ],
            |_| true
        ),
        case!(
            "both ends must allow",
            vec![
                policy(
                    "x",
                    "from-a",
                    json!({"podSelector": a(), "policyTypes": ["Egress"],
                    "egress": [{"to": [ns("y")]}]})
                ),
                policy(
                    "y",
                    "to-b",
                    json!({"podSelector": {"matchLabels": {"pod": "b"}},
                    "ingress": [{"from": [ns("z")]}]})
                ),
            ],
            |t| (t.from != "x/a" || t.received_in("y")) && (t.to != "y/b" || t.sent_in("z"))
        ),
        case!(
            "ingress and egress of one policy are independent",
            in_x(
                json!({"podSelector": a(), "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [ns("y")]}], "egress": [{"to": [ns("z")]}]})
            ),
            |t| (t.to != "x/a" || t.sent_in("y")) && (t.from != "x/a" || t.received_in("z"))
        ),
    ]
}

fn block_cases() -> Vec<Case> {
    let x_c_and_outside = json!([{"from": [{"ipBlock": {"cidr": "10.244.1.3/32"}}, {"ipBlock": {"cidr": "203.0.113.0/24"}}]}]);
    vec![
        case!("blocks", from_to_a(x_c_and_outside), |t| {
            t.to != "x/a" || (!t.v6 && (t.from == "x/c" || t.from == "outside"))
        }),
        case!(
            "a block with an exception, to",
            to_from_a(
                json!([{"to": [{"ipBlock": {"cidr": "10.244.1.0/24", "except": ["10.244.1.2/31"]}}]}])
            ),
            |t| t.from != "x/a" || (!t.v6 && t.to != "x/b" && t.to != "x/c" && t.to != "outside")
        ),
        case!(
            "what one block excepts another allows",
            to_from_a(json!([{"to": [
                {"ipBlock": {"cidr": "10.244.1.0/24", "except": ["10.244.1.2/31"]}},
                {"ipBlock": {"cidr": "10.244.1.3/32"}}]}])),
            |t| t.from != "x/a" || (!t.v6 && t.to != "x/b" && t.to != "outside")
        ),
        case!(
            "IPv6 block",
            from_to_a(json!([{"from": [{"ipBlock": {"cidr": "fd44::2/127"}}]}])),
            |t| { t.to != "x/a" || (t.v6 && (t.from == "x/b" || t.from == "x/c")) }
        ),
        case!(
            "all of IPv4",
            from_to_a(json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])),
            |t| { t.to != "x/a" || !t.v6 }
        ),
        case!(
            "all of IPv6 but the documentation's",
            from_to_a(json!([{"from": [{"ipBlock":
            {"cidr": "::/0", "except": ["2001:db8::/32"]}}]}])),
            |t| { t.to != "x/a" || (t.v6 && t.from != "outside") }
        ),
        case!(
            "block or selector",
            from_to_a(json!([{"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}, ns("y")]}])),
            |t| t.to != "x/a" || t.sent_in("y") || (t.from == "outside" && !t.v6)
        ),
    ]
}

fn port_cases() -> Vec<Case> {
    vec![
        case!(
            "a port",
            from_to_a(json!([{"ports": [{"port": 81}]}])),
            |t| t.to != "x/a" || t.tcp(81)
        ),
        case!(
            "policies stack",
            vec![
                policy(
                    "x",
                    "on-80",
                    json!({"podSelector": a(), "ingress": [{"ports": [{"port": 80}], "from": [ns("y")]}]})
                ),
                policy(
                    "x",
                    "on-81",
                    json!({"podSelector": a(), "ingress": [{"ports": [{"port": 81}], "from": [ns("z")]}]})
                ),
            ],
            |t| t.to != "x/a" || (t.sent_in("y") && t.tcp(80)) || (t.sent_in("z") && t.tcp(81))
        ),
        case!(
            "a named port",
            from_to_a(json!([{"ports": [{"port": "serve-81-tcp"}]}])),
            |t| t.to != "x/a" || t.tcp(81)
        ),
        case!(
            "a name that no container has",
            from_to_a(json!([{"ports": [{"port": "serve-82-tcp"}]}])),
            |t| t.to != "x/a"
        ),
        case!(
            "a named port of another protocol",
            from_to_a(json!([{"ports": [{"port": "serve-80-tcp", "protocol": "UDP"}]}])),
            |t| { t.to != "x/a" }
        ),
        case!(
            "egress to a named port",
            to_from_a(json!([{"ports": [{"port": "serve-80-tcp"}]}])),
            |t| { t.from != "x/a" || (t.tcp(80) && t.to != "outside") }
        ),
        case!(
            "egress to a named port of a namespace",
            to_from_a(
                json!([{"to": [ns("y")], "ports": [{"port": "serve-80-udp", "protocol": "UDP"}]}])
            ),
            |t| t.from != "x/a"
                || (t.received_in("y") && t.transport == Transport::Udp && t.port == 80)
        ),
        case!(
            "a range",
            from_to_a(json!([{"ports": [{"port": 81, "endPort": 90}]}])),
            |t| t.to != "x/a" || t.tcp(81)
        ),
        case!(
            "a range of all",
            from_to_a(json!([{"ports": [{"port": 1, "endPort": 65535}]}])),
            |t| { t.to != "x/a" || t.transport == Transport::Tcp }
        ),
        case!(
            "a range with a hole for others",
            from_to_a(json!([
            {"ports": [{"port": 1, "endPort": 100}], "from": [ns("y")]}, {"ports": [{"port": 80}], "from": [ns("z")]}])),
            |t| {
                t.to != "x/a"
                    || (t.transport == Transport::Tcp
                        && (t.sent_in("y") || (t.sent_in("z") && t.port == 80)))
            }
        ),
        case!(
            "a protocol without port",
            from_to_a(json!([{"ports": [{"protocol": "UDP"}]}])),
            |t| { t.to != "x/a" || t.transport == Transport::Udp }
        ),
        case!(
            "UDP on a port",
            from_to_a(json!([{"ports": [{"protocol": "UDP", "port": 80}]}])),
            |t| { t.to != "x/a" || (t.transport == Transport::Udp && t.port == 80) }
        ),
        case!(
            "SCTP is not TCP",
            from_to_a(json!([{"ports": [{"protocol": "SCTP", "port": 80}]}])),
            |t| { t.to != "x/a" || (t.transport == Transport::Sctp && t.port == 80) }
        ),
    ]
}
