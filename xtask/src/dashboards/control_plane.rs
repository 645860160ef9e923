//! The control plane: as a whole, kube-apiserver, the datastore.

use super::model::{Dashboard, Unit, graph, number};

pub const CLUSTER: Dashboard = Dashboard {
    name: "cluster",
    title: "Is the cluster well?",
    range: "1h",
    alerts: &["TargetDown", "PartNotReady", "ApiErrorBudgetBurn"],
    panels: &[
        number(
            "Which parts aren't ready?",
            Unit::Count,
            &[("{{job}} {{instance}}", "sextant_ready == 0 or sum(sextant_ready == bool 0)")],
        ),
        number(
            "How many parts answer?",
            Unit::Count,
            &[("answer", "sum(up)"), ("don't", "count(up) - sum(up)")],
        ),
        number(
            "When does the first certificate end?",
            Unit::When,
            &[("first end", "min(sextant_certificate_not_after_seconds) * 1000")],
        ),
        graph(
            "What do the parts serve?",
            Unit::PerSecond,
            &[("{{job}}", "sum by (job) (rate(sextant_rpc_server_duration_seconds_count[5m]))")],
        ),
        graph(
            "How long does a call take, of a hundred the slowest?",
            Unit::Seconds,
            &[(
                "{{job}}",
                "histogram_quantile(0.99, sum by (job, le) (rate(sextant_rpc_server_duration_seconds_bucket{method!~\".*/(Watch|WatchTrust|Session|LeaseKeepAlive|Connect)\"}[5m])))",
            )],
        ),
        graph(
            "Which calls fail?",
            Unit::PerSecond,
            &[(
                "{{job}} {{code}}",
                "sum by (job, code) (rate(sextant_rpc_server_duration_seconds_count{code=~\"Internal|Unavailable|Unknown|DeadlineExceeded|DataLoss\"}[5m]))",
            )],
        )
        .unless("no call has failed so far"),
        graph(
            "How much memory do the parts take?",
            Unit::Bytes,
            &[("{{job}} {{instance}}", "sextant_process_resident_memory_bytes")],
        ),
        graph(
            "How much processor do the parts take?",
            Unit::Ratio,
            &[("{{job}} {{instance}}", "rate(sextant_process_cpu_seconds_total[5m])")],
        ),
        number(
            "Which versions run?",
            Unit::Count,
            &[("{{service}} {{version}}", "sum by (service, version) (sextant_build_info)")],
        ),
    ],
};

pub const API_SERVER: Dashboard = Dashboard {
    name: "api-server",
    title: "Does kube-apiserver answer, and how fast?",
    range: "1h",
    alerts: &["ApiErrorBudgetBurn", "ComponentCrashes"],
    panels: &[
        graph(
            "What is asked of it?",
            Unit::PerSecond,
            &[(
                "{{verb}}",
                "sum by (verb) (rate(apiserver_request_total[5m]))",
            )],
        ),
        graph(
            "What part of its answers are errors of its own?",
            Unit::Ratio,
            &[(
                "5xx",
                "sum(rate(apiserver_request_total{code=~\"5..\"}[5m])) / sum(rate(apiserver_request_total[5m])) or vector(0)",
            )],
        ),
        graph(
            "How long does a request take, of a hundred the slowest?",
            Unit::Seconds,
            &[(
                "{{verb}}",
                "histogram_quantile(0.99, sum by (verb, le) (rate(apiserver_request_sli_duration_seconds_bucket{verb!~\"WATCH|CONNECT\"}[5m])))",
            )],
        ),
        graph(
            "How many requests are open?",
            Unit::Count,
            &[(
                "{{request_kind}}",
                "sum by (request_kind) (apiserver_current_inflight_requests)",
            )],
        ),
        graph(
            "How long does it wait for the datastore?",
            Unit::Seconds,
            &[(
                "{{operation}}",
                "histogram_quantile(0.99, sum by (operation, le) (rate(etcd_request_duration_seconds_bucket[5m])))",
            )],
        ),
        graph(
            "Which objects are there most of?",
            Unit::Count,
            &[(
                "{{resource}}",
                "topk(10, sum by (resource) (apiserver_resource_objects))",
            )],
        ),
        graph(
            "How many watches does it serve?",
            Unit::Count,
            &[("{{verb}}", "sum by (verb) (apiserver_longrunning_requests)")],
        ),
        graph(
            "How long do token signing and KMS take?",
            Unit::Seconds,
            &[(
                "{{method}}",
                "histogram_quantile(0.99, sum by (method, le) (rate(sextant_rpc_client_duration_seconds_bucket{job=\"kube-apiserver\",method=~\"/v[12]\\\\..*\"}[5m])))",
            )],
        ),
        number(
            "How often has it crashed?",
            Unit::Count,
            &[(
                "{{job}}",
                "sextant_component_crashes{job=\"kube-apiserver\"}",
            )],
        ),
    ],
};

pub const DATASTORE: Dashboard = Dashboard {
    name: "datastore",
    title: "Why is a write slow, and is there room?",
    range: "1h",
    alerts: &[
        "DatastoreSlow",
        "DatastoreFull",
        "DatastoreCompactionLate",
        "DatastoreNoLeader",
        "DatastoreWatchLag",
    ],
    panels: &[
        graph(
            "What is asked of it, and by whom?",
            Unit::PerSecond,
            &[(
                "{{method}} {{caller}}",
                "sum by (method, caller) (rate(sextant_rpc_server_duration_seconds_count{job=\"datastore-proxy\"}[5m]))",
            )],
        ),
        graph(
            "How long does a request take, of a hundred the slowest?",
            Unit::Seconds,
            &[(
                "{{method}}",
                "histogram_quantile(0.99, sum by (method, le) (rate(sextant_rpc_server_duration_seconds_bucket{job=\"datastore-proxy\",method!~\".*(Watch|LeaseKeepAlive)\"}[5m])))",
            )],
        ),
        graph(
            "How long until a commit is durable?",
            Unit::Seconds,
            &[
                (
                    "half",
                    "histogram_quantile(0.5, sum by (le) (rate(sextant_datastore_commit_seconds_bucket[5m])))",
                ),
                (
                    "99 of 100",
                    "histogram_quantile(0.99, sum by (le) (rate(sextant_datastore_commit_seconds_bucket[5m])))",
                ),
            ],
        ),
        graph(
            "How many requests share a commit?",
            Unit::Count,
            &[(
                "mean",
                "sum(rate(sextant_datastore_commit_batch_size_sum[5m])) / sum(rate(sextant_datastore_commit_batch_size_count[5m]))",
            )],
        ),
        graph(
            "How many wait for the writer?",
            Unit::Count,
            &[("{{instance}}", "sextant_datastore_waiting_requests")],
        ),
        graph(
            "How much room is used?",
            Unit::Bytes,
            &[
                ("file", "sextant_datastore_db_bytes"),
                ("used", "sextant_datastore_db_used_bytes"),
                ("quota, 0 for none", "sextant_datastore_db_quota_bytes"),
            ],
        ),
        graph(
            "How many revisions aren't compacted?",
            Unit::Count,
            &[(
                "{{instance}}",
                "sextant_datastore_revision - sextant_datastore_compact_revision",
            )],
        ),
        graph(
            "How many watches are open, and which lag?",
            Unit::Count,
            &[
                ("open", "sum(sextant_datastore_watchers)"),
                ("lag", "sum(sextant_datastore_slow_watchers)"),
            ],
        ),
        graph(
            "How many requests were slow?",
            Unit::PerSecond,
            &[(
                "{{instance}}",
                "rate(sextant_datastore_slow_requests_total[5m])",
            )],
        ),
    ],
};
