//! The services that give identities, tokens and configuration.

use super::model::{Dashboard, Unit, graph, number};

pub const CERT_AUTHORITY: Dashboard = Dashboard {
    name: "cert-authority",
    title: "Who gets certificates, and who is refused?",
    range: "6h",
    alerts: &["CertificateAuthorityExpires", "CertificateRenewalsFail"],
    panels: &[
        graph(
            "Which certificates are issued?",
            Unit::Count,
            &[(
                "{{profile}}",
                "sum by (profile) (increase(sextant_ca_issued_total[1h]))",
            )],
        ),
        graph(
            "Why are requests refused?",
            Unit::Count,
            &[(
                "{{reason}}",
                "sum by (reason) (increase(sextant_ca_refused_total[1h]))",
            )],
        )
        .unless("no request was refused so far"),
        graph(
            "Who asks for what?",
            Unit::PerSecond,
            &[(
                "{{caller}} {{method}}",
                "sum by (caller, method) (rate(sextant_rpc_server_duration_seconds_count{job=\"cert-authority\"}[5m]))",
            )],
        ),
        graph(
            "How long does it take, of a hundred the slowest?",
            Unit::Seconds,
            &[(
                "{{method}}",
                "histogram_quantile(0.99, sum by (method, le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"cert-authority\",method!~\".*/WatchTrust\"}[5m])))",
            )],
        ),
        number(
            "When does each authority end?",
            Unit::When,
            &[(
                "{{authority}}",
                "min by (authority) (sextant_ca_not_after_seconds) * 1000",
            )],
        ),
    ],
};

pub const CERTIFICATES: Dashboard = Dashboard {
    name: "certificates",
    title: "Which certificate will trouble us next?",
    range: "24h",
    alerts: &[
        "CertificateExpires",
        "CertificateAuthorityExpires",
        "CertificateRenewalsFail",
    ],
    panels: &[
        number(
            "Which ten end first?",
            Unit::When,
            &[(
                "{{job}} {{certificate}}",
                "bottomk(10, sextant_certificate_not_after_seconds) * 1000",
            )],
        ),
        graph(
            "How much of its life has each lived?",
            Unit::Ratio,
            &[(
                "{{job}} {{certificate}}",
                "(time() - sextant_certificate_not_before_seconds) / (sextant_certificate_not_after_seconds - sextant_certificate_not_before_seconds)",
            )],
        ),
        graph(
            "How long do the nodes' certificates last?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "sextant_node_certificate_expires_seconds - time()",
            )],
        ),
        graph(
            "Do renewals succeed?",
            Unit::Count,
            &[(
                "{{job}} {{certificate}} {{outcome}}",
                "sum by (job, certificate, outcome) (increase(sextant_certificate_renewals_total[1h]))",
            )],
        ),
        number(
            "When does each authority end?",
            Unit::When,
            &[(
                "{{authority}}",
                "min by (authority) (sextant_ca_not_after_seconds) * 1000",
            )],
        ),
    ],
};

pub const TOKEN_SERVICE: Dashboard = Dashboard {
    name: "token-service",
    title: "Do tokens work, and does somebody guess them?",
    range: "6h",
    alerts: &["TokenGuessing"],
    panels: &[
        graph(
            "How do join tokens fare?",
            Unit::Count,
            &[(
                "{{outcome}}",
                "sum by (outcome) (increase(sextant_join_token_verifications_total{outcome=\"accepted\"}[1h])) \
                 or sum by (outcome) (increase(sextant_join_token_verifications_total{outcome!=\"accepted\"}[1h])) > 0",
            )],
        ),
        graph(
            "Are ServiceAccount tokens signed?",
            Unit::PerSecond,
            &[(
                "{{outcome}}",
                "sum by (outcome) (rate(sextant_service_account_signatures_total[5m]))",
            )],
        ),
        graph(
            "How long does it take, of a hundred the slowest?",
            Unit::Seconds,
            &[(
                "{{method}}",
                "histogram_quantile(0.99, sum by (method, le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"token-service\"}[5m])))",
            )],
        ),
        graph(
            "Who asks?",
            Unit::PerSecond,
            &[(
                "{{caller}} {{method}}",
                "sum by (caller, method) (rate(sextant_rpc_server_duration_seconds_count{job=\"token-service\"}[5m]))",
            )],
        ),
        graph(
            "How many join tokens are there?",
            Unit::Count,
            &[("{{state}}", "max by (state) (sextant_join_tokens)")],
        ),
        graph(
            "For how long can one still be used?",
            Unit::Seconds,
            &[("longest", "max(sextant_join_token_longest_left_seconds)")],
        ),
        graph(
            "How many expired tokens are forgotten?",
            Unit::Count,
            &[(
                "forgotten",
                "sum(increase(sextant_join_tokens_cleaned_total[1h]))",
            )],
        ),
    ],
};

pub const JOINS: Dashboard = Dashboard {
    name: "joins",
    title: "Do nodes join, and who leads the supervisors?",
    range: "6h",
    alerts: &["JoinFailures", "SupervisorNoLeader", "NodeSessionLost"],
    panels: &[
        graph(
            "How do joins end?",
            Unit::Count,
            // Of all refusals that there can be, those that there were.
            &[(
                "{{call}} {{outcome}}",
                "sum by (call, outcome) (increase(sextant_joins_total{outcome=\"ok\"}[1h])) \
                 or sum by (call, outcome) (increase(sextant_joins_total{outcome!=\"ok\"}[1h])) > 0",
            )],
        ),
        graph(
            "How long does a join take?",
            Unit::Seconds,
            &[(
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"supervisor\",method=\"HTTP POST\"}[1h])))",
            )],
        ),
        graph(
            "How many sessions does each replica hold?",
            Unit::Count,
            &[("{{instance}}", "sextant_supervisor_node_sessions")],
        ),
        number(
            "Who leads?",
            Unit::Count,
            &[("{{instance}}", "sextant_supervisor_is_leader")],
        ),
        graph(
            "What is asked of it?",
            Unit::PerSecond,
            &[(
                "{{caller}} {{method}}",
                "sum by (caller, method) (rate(sextant_rpc_server_duration_seconds_count{job=\"supervisor\"}[5m]))",
            )],
        ),
        graph(
            "Which of its own calls fail?",
            Unit::PerSecond,
            &[(
                "{{method}} {{code}}",
                "sum by (method, code) (rate(sextant_rpc_client_duration_seconds_count{job=\"supervisor\",code!~\"Ok|Cancelled\"}[5m]))",
            )],
        )
        .unless("no call has failed so far"),
    ],
};

pub const TUNNEL: Dashboard = Dashboard {
    name: "tunnel",
    title: "Do logs, exec and webhooks reach the nodes?",
    range: "1h",
    alerts: &["TunnelStalls", "NodeSessionLost"],
    panels: &[
        graph(
            "How many connections are open?",
            Unit::Count,
            &[
                ("supervisor {{instance}}", "sextant_tunnel_open_connections"),
                ("kube-apiserver", "sextant_egress_open_connections{job=\"kube-apiserver\"}"),
            ],
        ),
        graph(
            "How many are opened, and how many can't be?",
            Unit::PerSecond,
            &[
                ("opened", "sum(rate(sextant_tunnel_connections_total[5m]))"),
                ("failed", "sum(rate(sextant_tunnel_open_failures_total[5m]))"),
            ],
        ),
        graph(
            "How much goes through?",
            Unit::BytesPerSecond,
            &[
                ("from nodes", "sum(rate(sextant_tunnel_from_nodes_bytes_total[5m]))"),
                ("to nodes", "sum(rate(sextant_tunnel_to_nodes_bytes_total[5m]))"),
            ],
        ),
        graph(
            "How long does kube-apiserver wait for a way?",
            Unit::Seconds,
            &[(
                "{{protocol}} {{transport}}",
                "histogram_quantile(0.99, sum by (protocol, transport, le) (rate(apiserver_egress_dialer_dial_duration_seconds_bucket[5m])))",
            )],
        )
        .unless("kube-apiserver has dialled no node so far"),
    ],
};
