//! Nodes, their policies, the start of a pod, upstream's components, and the fleet.

use super::model::{Dashboard, Unit, graph, number};

pub const NODES: Dashboard = Dashboard {
    name: "nodes",
    title: "Are the nodes connected and their parts running?",
    range: "1h",
    alerts: &["NodeSessionLost", "NodeChildCrashes", "CertificateExpires"],
    panels: &[
        graph(
            "How many supervisors is each node connected to?",
            Unit::Count,
            &[("{{node}}", "sextant_node_sessions")],
        ),
        graph(
            "How many pods run?",
            Unit::Count,
            &[("{{node}}", "kubelet_running_pods")],
        ),
        graph(
            "How many neighbours does each node know?",
            Unit::Count,
            &[("{{node}}", "sextant_node_peers")],
        ),
        graph(
            "How often did containerd, kubelet or kube-proxy crash?",
            Unit::Count,
            &[("{{node}}", "sextant_node_child_crashes")],
        ),
        number(
            "When does each node's certificate end?",
            Unit::When,
            &[("{{node}}", "sextant_node_certificate_expires_seconds * 1000")],
        ),
        graph(
            "What do the agents ask for?",
            Unit::PerSecond,
            &[(
                "{{node}} {{method}}",
                "sum by (node, method) (rate(sextant_rpc_client_duration_seconds_count{job=\"node-agent\"}[5m]))",
            )],
        )
        .unless("sessions are one long call each: none has ended so far"),
        graph(
            "How much memory do the agents take?",
            Unit::Bytes,
            &[("{{node}}", "sextant_process_resident_memory_bytes{job=\"node-agent\"}")],
        ),
        graph(
            "How long does kube-proxy take to write its rules?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "histogram_quantile(0.99, sum by (node, le) (rate(kubeproxy_sync_proxy_rules_duration_seconds_bucket[5m])))",
            )],
        ),
    ],
};

pub const NETPOL: Dashboard = Dashboard {
    name: "netpol",
    title: "Are the policies in force?",
    range: "1h",
    alerts: &["PolicyNotInForce"],
    panels: &[
        graph(
            "How many policies and pods does each node hold?",
            Unit::Count,
            &[
                ("{{node}} policies", "sextant_netpol_policies"),
                ("{{node}} pods", "sextant_netpol_pods"),
            ],
        ),
        graph(
            "How long from a change until the kernel holds it?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "histogram_quantile(0.99, sum by (node, le) (rate(sextant_netpol_sync_seconds_bucket[5m])))",
            )],
        ),
        graph(
            "Is it the rules or the kernel that takes so long?",
            Unit::Seconds,
            &[
                (
                    "{{node}} rules",
                    "histogram_quantile(0.99, sum by (node, le) (rate(sextant_netpol_compile_seconds_bucket[5m])))",
                ),
                (
                    "{{node}} kernel",
                    "histogram_quantile(0.99, sum by (node, le) (rate(sextant_netpol_commit_seconds_bucket[5m])))",
                ),
            ],
        ),
        graph(
            "What is denied?",
            Unit::PerSecond,
            &[(
                "{{node}} {{by}}",
                "sum by (node, by) (rate(sextant_netpol_denied_packets_total[5m]))",
            )],
        ),
        graph(
            "What does the kernel refuse?",
            Unit::PerSecond,
            &[("{{node}}", "rate(sextant_netpol_errors_total[5m])")],
        ),
        graph(
            "Does somebody else change the table?",
            Unit::Count,
            &[("{{node}}", "increase(sextant_netpol_repairs_total[1h])")],
        ),
        graph(
            "How many connections were cut by a new policy?",
            Unit::Count,
            &[(
                "{{node}}",
                "increase(sextant_netpol_cut_connections_total[1h])",
            )],
        ),
        graph(
            "Does it follow the API?",
            Unit::PerSecond,
            &[(
                "{{node}} errors",
                "rate(sextant_netpol_watch_errors_total[5m])",
            )],
        ),
    ],
};

pub const POD_START: Dashboard = Dashboard {
    name: "pod-start",
    title: "Where does the start of a pod spend its time?",
    range: "1h",
    alerts: &["PolicyNotInForce", "DatastoreSlow"],
    panels: &[
        graph(
            "How long does kube-apiserver take to create it?",
            Unit::Seconds,
            &[(
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(apiserver_request_sli_duration_seconds_bucket{resource=\"pods\",verb=\"POST\"}[30m])))",
            )],
        ),
        graph(
            "How long does scheduling take?",
            Unit::Seconds,
            &[(
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(scheduler_pod_scheduling_sli_duration_seconds_bucket[30m])))",
            )],
        ),
        graph(
            "How long does kubelet take, images apart?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "histogram_quantile(0.99, sum by (node, le) (rate(kubelet_pod_start_sli_duration_seconds_bucket[30m])))",
            )],
        ),
        graph(
            "How long does containerd take?",
            Unit::Seconds,
            &[(
                "{{node}} {{operation_type}}",
                "histogram_quantile(0.99, sum by (node, operation_type, le) (rate(kubelet_runtime_operations_duration_seconds_bucket{operation_type=~\"run_podsandbox|create_container|start_container|pull_image\"}[30m])))",
            )],
        ),
        graph(
            "How long does it wait for its policy?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "histogram_quantile(0.99, sum by (node, le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"netpol-controller\"}[30m])))",
            )],
        ),
        graph(
            "How long until Services lead to it?",
            Unit::Seconds,
            &[(
                "{{node}}",
                "histogram_quantile(0.99, sum by (node, le) (rate(kubeproxy_network_programming_duration_seconds_bucket[30m])))",
            )],
        )
        .unless("no endpoint has changed since kube-proxy started"),
        graph(
            "How long does signing its token take?",
            Unit::Seconds,
            &[(
                "99 of 100",
                "histogram_quantile(0.99, sum by (le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"token-service\",method=\"/v1.ExternalJWTSigner/Sign\"}[30m])))",
            )],
        ),
        graph(
            "How many pods wait to be scheduled?",
            Unit::Count,
            &[("{{queue}}", "sum by (queue) (scheduler_pending_pods)")],
        ),
    ],
};

pub const UPSTREAM: Dashboard = Dashboard {
    name: "upstream",
    title: "Do upstream's components keep up?",
    range: "1h",
    alerts: &["ComponentCrashes", "TargetDown"],
    panels: &[
        number(
            "Are they ready?",
            Unit::Count,
            &[("{{job}}", "sextant_component_ready")],
        ),
        graph(
            "How often did they crash?",
            Unit::Count,
            &[("{{job}}", "sextant_component_crashes")],
        ),
        graph(
            "How much memory do they take?",
            Unit::Bytes,
            &[(
                "{{component}} {{node}}",
                "process_resident_memory_bytes{job=\"upstream\"}",
            )],
        ),
        graph(
            "How much processor do they take?",
            Unit::Ratio,
            &[(
                "{{component}} {{node}}",
                "rate(process_cpu_seconds_total{job=\"upstream\"}[5m])",
            )],
        ),
        graph(
            "Which controllers have work waiting?",
            Unit::Count,
            &[("{{name}}", "topk(10, sum by (name) (workqueue_depth{component=\"kube-controller-manager\"}))")],
        ),
        graph(
            "Which of their requests to the API fail?",
            Unit::PerSecond,
            &[(
                "{{component}} {{code}}",
                "sum by (component, code) (rate(rest_client_requests_total{job=\"upstream\",code!~\"2..\"}[5m]))",
            )],
        )
        .unless("no request has failed so far"),
        number(
            "Which versions run?",
            Unit::Count,
            &[(
                "{{component}} {{git_version}}",
                "sum by (component, git_version) (kubernetes_build_info)",
            )],
        ),
    ],
};

pub const FLEET: Dashboard = Dashboard {
    name: "fleet",
    title: "Which control plane needs somebody?",
    range: "6h",
    alerts: &["PartNotReady", "DatastoreFull", "ApiErrorBudgetBurn"],
    // A Prometheus that reads several hosted control planes tells them apart by namespace; one that reads the dev
    // cluster has one plane without a name.
    panels: &[
        number(
            "How many parts of each plane aren't ready?",
            Unit::Count,
            &[(
                "{{namespace}}",
                "sum by (namespace) (sextant_ready == bool 0)",
            )],
        ),
        graph(
            "What is asked of each plane's API?",
            Unit::PerSecond,
            &[(
                "{{namespace}}",
                "sum by (namespace) (rate(apiserver_request_total[5m]))",
            )],
        ),
        graph(
            "What part of the answers are errors?",
            Unit::Ratio,
            &[(
                "{{namespace}}",
                "1 - sum by (namespace) (rate(apiserver_request_total{code!~\"5..\"}[5m])) / sum by (namespace) (rate(apiserver_request_total[5m]))",
            )],
        ),
        graph(
            "How many nodes has each plane?",
            Unit::Count,
            &[(
                "{{namespace}}",
                "sum by (namespace) (sextant_supervisor_node_sessions)",
            )],
        ),
        graph(
            "How large is each plane's datastore?",
            Unit::Bytes,
            &[(
                "{{namespace}}",
                "max by (namespace) (sextant_datastore_db_used_bytes)",
            )],
        ),
        graph(
            "How much memory does each plane take?",
            Unit::Bytes,
            &[(
                "{{namespace}}",
                "sum by (namespace) (sextant_process_resident_memory_bytes)",
            )],
        ),
        number(
            "When does each plane's first certificate end?",
            Unit::When,
            &[(
                "{{namespace}}",
                "min by (namespace) (sextant_certificate_not_after_seconds) * 1000",
            )],
        ),
    ],
};

pub const TELEMETRY: Dashboard = Dashboard {
    name: "telemetry",
    title: "Can what is shown here be believed?",
    range: "1h",
    alerts: &["TelemetryLost", "TargetDown"],
    panels: &[
        number(
            "Which targets don't answer?",
            Unit::Count,
            &[("{{job}} {{instance}}", "up == 0 or sum(up == bool 0)")],
        ),
        graph(
            "How many spans and log lines arrive?",
            Unit::PerSecond,
            &[
                ("spans", "rate(otelcol_receiver_accepted_spans[5m])"),
                (
                    "log lines",
                    "rate(otelcol_receiver_accepted_log_records[5m])",
                ),
            ],
        ),
        graph(
            "How many are refused?",
            Unit::PerSecond,
            &[
                ("spans", "rate(otelcol_receiver_refused_spans[5m])"),
                (
                    "log lines",
                    "rate(otelcol_receiver_refused_log_records[5m])",
                ),
            ],
        ),
        graph(
            "How many log lines say what was said too often?",
            Unit::PerSecond,
            &[(
                "{{job}}",
                "sum by (job) (rate(sextant_log_lines_suppressed_total[5m]))",
            )],
        ),
        graph(
            "How much memory does it take?",
            Unit::Bytes,
            &[
                ("collector", "otelcol_process_memory_rss"),
                (
                    "prometheus",
                    "process_resident_memory_bytes{job=\"prometheus\"}",
                ),
            ],
        ),
        graph(
            "How many series are there?",
            Unit::Count,
            &[("series", "prometheus_tsdb_head_series")],
        ),
        graph(
            "How long does reading a part take?",
            Unit::Seconds,
            &[("{{job}}", "max by (job) (scrape_duration_seconds)")],
        ),
    ],
};
