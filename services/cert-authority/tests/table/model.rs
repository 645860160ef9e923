//! The issuing table once more, written by hand as plain text, to hold the code against.

/// For whom a certificate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Own,
    Node,
    Admin,
}

/// One cell that is allowed, and what comes out. `{td}` is the trust domain, `{n}` the node's name, `{a}` its
/// addresses, `{s}` the asking service's name.
pub struct Cell {
    pub profile: &'static str,
    pub requester: &'static str,
    pub whose: For,
    pub authority: &'static str,
    pub organization: &'static str,
    pub common_name: &'static str,
    pub sans: &'static str,
    pub usage: &'static str,
    /// Most and least seconds of life, with the default configuration.
    pub life: (i64, i64),
}

const DAY: i64 = 24 * 3600;
const FILES: (i64, i64) = (DAY, 900);
const MEMORY: (i64, i64) = (DAY, 60);

const API: &str = "DNS:kubernetes DNS:kubernetes.default DNS:kubernetes.default.svc \
    DNS:kubernetes.default.svc.cluster.local DNS:kube-apiserver DNS:localhost IP:127.0.0.1 IP:::1 IP:10.96.0.1 \
    IP:192.0.2.1 DNS:api.example.org IP:203.0.113.9";
const ETCD: &str = "DNS:datastore-proxy DNS:localhost IP:127.0.0.1 DNS:etcd.example.org \
    URI:spiffe://{td}/service/datastore-proxy";

#[rustfmt::skip]
pub const TABLE: &[Cell] = &[
    cell("PROFILE_MESH", "service/cert-authority", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/collector", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/datastore-proxy", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/kube-apiserver", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/kube-controller-manager", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/kube-scheduler", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/netpol-controller", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/supervisor", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "service/token-service", For::Own, "mesh", "", "service/{s}", "URI:spiffe://{td}/service/{s}", "client server", MEMORY),
    cell("PROFILE_MESH", "admin", For::Own, "mesh", "", "admin", "URI:spiffe://{td}/admin", "client server", MEMORY),
    cell("PROFILE_MESH", "service/supervisor", For::Admin, "mesh", "", "admin", "URI:spiffe://{td}/admin", "client server", MEMORY),
    cell("PROFILE_MESH", "service/supervisor", For::Node, "mesh", "", "node/{n}", "URI:spiffe://{td}/node/{n}", "client server", MEMORY),
    cell("PROFILE_DATASTORE_SERVER", "service/datastore-proxy", For::Own, "datastore", "", "datastore-proxy", ETCD, "server", FILES),
    cell("PROFILE_DATASTORE_CLIENT", "service/kube-apiserver", For::Own, "datastore", "", "kube-apiserver", "URI:spiffe://{td}/service/kube-apiserver", "client", FILES),
    cell("PROFILE_DATASTORE_CLIENT", "service/supervisor", For::Own, "datastore", "", "supervisor", "URI:spiffe://{td}/service/supervisor", "client", FILES),
    cell("PROFILE_DATASTORE_CLIENT", "service/token-service", For::Own, "datastore", "", "token-service", "URI:spiffe://{td}/service/token-service", "client", FILES),
    cell("PROFILE_APISERVER_SERVING", "service/kube-apiserver", For::Own, "cluster-server", "", "kube-apiserver", API, "server", FILES),
    cell("PROFILE_APISERVER_KUBELET_CLIENT", "service/kube-apiserver", For::Own, "cluster-client", "sextant:kubelet-clients", "sextant:kube-apiserver", "", "client", (365 * DAY, 900)),
    cell("PROFILE_PROBE_CLIENT", "service/kube-apiserver", For::Own, "cluster-client", "", "sextant:probe:kube-apiserver", "", "client", FILES),
    cell("PROFILE_PROBE_CLIENT", "service/kube-controller-manager", For::Own, "cluster-client", "", "sextant:probe:kube-controller-manager", "", "client", FILES),
    cell("PROFILE_PROBE_CLIENT", "service/kube-scheduler", For::Own, "cluster-client", "", "sextant:probe:kube-scheduler", "", "client", FILES),
    cell("PROFILE_REQUEST_HEADER_CLIENT", "service/kube-apiserver", For::Own, "request-header", "", "front-proxy-client", "", "client", FILES),
    cell("PROFILE_CONTROLLER_MANAGER_CLIENT", "service/kube-controller-manager", For::Own, "cluster-client", "", "system:kube-controller-manager", "", "client", FILES),
    cell("PROFILE_SCHEDULER_CLIENT", "service/kube-scheduler", For::Own, "cluster-client", "", "system:kube-scheduler", "", "client", FILES),
    cell("PROFILE_COMPONENT_SERVING", "service/kube-controller-manager", For::Own, "cluster-server", "", "kube-controller-manager", "DNS:kube-controller-manager DNS:localhost IP:127.0.0.1", "server", FILES),
    cell("PROFILE_COMPONENT_SERVING", "service/kube-scheduler", For::Own, "cluster-server", "", "kube-scheduler", "DNS:kube-scheduler DNS:localhost IP:127.0.0.1", "server", FILES),
    cell("PROFILE_SUPERVISOR_CLIENT", "service/supervisor", For::Own, "cluster-client", "sextant:supervisors", "sextant:supervisor", "", "client", MEMORY),
    cell("PROFILE_SUPERVISOR_BOOTSTRAP", "service/supervisor", For::Own, "cluster-client", "system:masters", "sextant:bootstrap", "", "client", (600, 60)),
    cell("PROFILE_KUBELET_CLIENT", "service/supervisor", For::Node, "cluster-client", "system:nodes", "system:node:{n}", "", "client", FILES),
    cell("PROFILE_KUBELET_SERVING", "service/supervisor", For::Node, "cluster-server", "system:nodes", "system:node:{n}", "DNS:{n} {a}", "server", FILES),
    cell("PROFILE_KUBE_PROXY_CLIENT", "service/supervisor", For::Node, "cluster-client", "sextant:kube-proxies", "sextant:kube-proxy:{n}", "", "client", FILES),
    cell("PROFILE_METRICS_SERVER_SERVING", "service/supervisor", For::Own, "cluster-server", "", "metrics-server", "DNS:metrics-server.kube-system.svc", "server", FILES),
    cell("PROFILE_ADMIN_CLIENT", "service/supervisor", For::Own, "cluster-client", "sextant:admins", "sextant:admin", "", "client", MEMORY),
];

#[expect(clippy::too_many_arguments, reason = "the columns of the table")]
const fn cell(
    profile: &'static str,
    requester: &'static str,
    whose: For,
    authority: &'static str,
    organization: &'static str,
    common_name: &'static str,
    sans: &'static str,
    usage: &'static str,
    life: (i64, i64),
) -> Cell {
    Cell {
        profile,
        requester,
        whose,
        authority,
        organization,
        common_name,
        sans,
        usage,
        life,
    }
}

/// The cell of a request, if the table has it.
pub fn find(profile: &str, requester: &str, whose: For) -> Option<&'static Cell> {
    TABLE
        .iter()
        .find(|cell| cell.profile == profile && cell.requester == requester && cell.whose == whose)
}

impl Cell {
    /// The subject alternative names, sorted.
    pub fn sans(&self, trust_domain: &str, node: &str, addresses: &[String]) -> Vec<String> {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| format!("IP:{address}"))
            .collect();
        let text = self
            .fill(self.sans, trust_domain, node)
            .replace("{a}", &addresses.join(" "));
        let mut sans: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        sans.sort();
        sans.dedup();
        sans
    }

    /// The subject's CN.
    pub fn common_name(&self, node: &str) -> String {
        self.fill(self.common_name, "", node)
    }

    fn fill(&self, text: &str, trust_domain: &str, node: &str) -> String {
        let service = self.requester.trim_start_matches("service/");
        text.replace("{td}", trust_domain)
            .replace("{n}", node)
            .replace("{s}", service)
    }
}
