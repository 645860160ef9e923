//! The kubelet's configuration file and arguments.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// TLS 1.2 suites with forward secrecy and an AEAD; TLS 1.3 has no others.
const CIPHER_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Settings that a cluster's fragment can't change: they carry the node's security or its wiring.
const PROTECTED: [&str; 16] = [
    "address",
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupDriver",
    "containerRuntimeEndpoint",
    "kind",
    "readOnlyPort",
    "resolvConf",
    "rotateCertificates",
    "serverTLSBootstrap",
    "staticPodPath",
    "tlsCertFile",
    "tlsCipherSuites",
    "tlsMinVersion",
    "tlsPrivateKeyFile",
];

/// What the kubelet's configuration depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Kubelet {
    /// The node's name.
    pub name: String,
    /// The node's address.
    pub address: IpAddr,
    /// Address of the cluster's DNS Service.
    pub cluster_dns: String,
    /// e.g. `cluster.local`.
    pub cluster_domain: String,
    /// Anchors of client certificates.
    pub client_ca: String,
    /// Serving certificate and key in one file.
    pub serving_pem: String,
    /// The resolver file for pods.
    pub resolv_conf: String,
    /// `unix://` address of containerd.
    pub runtime_endpoint: String,
    /// Folder for volume plugins, on a volume.
    pub volume_plugins: String,
    /// Whether the node runs on cgroup v1.
    pub cgroup_v1: bool,
    /// Whether the kubelet may measure ephemeral storage.
    pub measure_storage: bool,
    /// Resources kept for the system, e.g. `memory: 200Mi`.
    pub system_reserved: BTreeMap<String, String>,
    /// Taints as `key=value:Effect` or `key:Effect`.
    pub taints: Vec<Taint>,
    /// Where it tells what it does, as a `TracingConfiguration`.
    pub tracing: Option<Value>,
    /// The cluster's fragment, already parsed.
    pub extra: Map<String, Value>,
}

/// A taint of a new node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    /// Parses `key=value:Effect` or `key:Effect`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, effect) = text.rsplit_once(':')?;
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
        (known && !key.is_empty()).then(|| Self {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
        })
    }
}

impl Kubelet {
    /// The `KubeletConfiguration`, with the cluster's fragment merged in where that is allowed.
    pub fn configuration(&self) -> Value {
        let mut configuration = self.own();
        if let Some(tracing) = &self.tracing {
            configuration["tracing"] = tracing.clone();
        }
        let extra = self
            .extra
            .iter()
            .filter(|(key, _)| !PROTECTED.contains(&key.as_str()));
        for (key, value) in extra {
            merge(&mut configuration[key.as_str()], value);
        }
        configuration
    }

    fn own(&self) -> Value {
        let taints: Vec<_> = self
            .taints
            .iter()
            .map(|taint| json!({ "key": taint.key, "value": taint.value, "effect": taint.effect }))
            .collect();
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address.to_string(),
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true, "cacheTTL": "2m0s" },
                "x509": { "clientCAFile": self.client_ca },
            },
            "authorization": { "mode": "Webhook" },
            "cgroupDriver": "cgroupfs",
            "clusterDNS": [self.cluster_dns],
            "clusterDomain": self.cluster_domain,
            "containerRuntimeEndpoint": self.runtime_endpoint,
            // The disk is shared with a machine that isn't ours alone: react to real shortage, not to a percentage.
            "evictionHard": {
                "imagefs.available": "500Mi",
                "memory.available": "100Mi",
                "nodefs.available": "500Mi",
                "nodefs.inodesFree": "1%",
            },
            "failCgroupV1": !self.cgroup_v1,
            "failSwapOn": false,
            "imageGCHighThresholdPercent": 95,
            "imageGCLowThresholdPercent": 90,
            "localStorageCapacityIsolation": self.measure_storage,
            "logging": { "format": "text", "verbosity": 0 },
            // What doesn't change is written seldom, since a Lease says that the node lives. Upstream would take this from
            // the frequency below: a write of the whole Node every 5 s, told to everybody who watches it.
            "nodeStatusReportFrequency": "5m",
            "nodeStatusUpdateFrequency": "5s",
            "protectKernelDefaults": false,
            "readOnlyPort": 0,
            "registerWithTaints": taints,
            "resolvConf": self.resolv_conf,
            "rotateCertificates": false,
            "serializeImagePulls": false,
            "maxParallelImagePulls": 4,
            "serverTLSBootstrap": false,
            "shutdownGracePeriod": "0s",
            "systemReserved": self.system_reserved,
            "tlsCertFile": self.serving_pem,
            "tlsCipherSuites": CIPHER_SUITES,
            "tlsMinVersion": "VersionTLS12",
            "tlsPrivateKeyFile": self.serving_pem,
            "volumePluginDir": self.volume_plugins,
        })
    }
}

/// Lays `over` onto `value`: objects key by key, anything else replaced.
fn merge(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (key, over) in over {
                merge(fields.entry(key.clone()).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}

/// A kubeconfig whose client certificate and key lie in one file, so that a renewal is one rename.
pub fn kubeconfig(server: &str, ca: &str, client_pem: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "sextant",
            "cluster": { "server": server, "certificate-authority": ca },
        }],
        "users": [{
            "name": "node",
            "user": { "client-certificate": client_pem, "client-key": client_pem },
        }],
        "contexts": [{ "name": "node", "context": { "cluster": "sextant", "user": "node" } }],
        "current-context": "node",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubelet() -> Kubelet {
        Kubelet {
            name: "node-1".into(),
            address: "172.18.0.5".parse().unwrap(),
            cluster_dns: "10.96.0.10".into(),
            cluster_domain: "cluster.local".into(),
            client_ca: "/ca.pem".into(),
            serving_pem: "/serving.pem".into(),
            resolv_conf: "/resolv.conf".into(),
            runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            volume_plugins: "/var/lib/kubelet/volume-plugins".into(),
            cgroup_v1: true,
            measure_storage: true,
            system_reserved: BTreeMap::from([("memory".to_owned(), "200Mi".to_owned())]),
            taints: vec![Taint::parse("dedicated=gpu:NoSchedule").unwrap()],
            tracing: None,
            extra: Map::new(),
        }
    }

    #[test]
    fn is_closed_by_default() {
        let configuration = kubelet().configuration();
        assert_eq!(
            configuration["authentication"]["anonymous"]["enabled"],
            false
        );
        assert_eq!(configuration["authorization"]["mode"], "Webhook");
        assert_eq!(configuration["readOnlyPort"], 0);
        assert_eq!(configuration["tlsMinVersion"], "VersionTLS12");
        assert_eq!(configuration["failCgroupV1"], false);
        assert_eq!(configuration["registerWithTaints"][0]["key"], "dedicated");
        assert!(configuration.get("staticPodPath").is_none());
    }

    #[test]
    fn a_fragment_changes_what_it_may() {
        let extra = json!({
            "maxPods": 50,
            "evictionHard": { "memory.available": "1Gi" },
            "authentication": { "anonymous": { "enabled": true } },
            "readOnlyPort": 10255,
            "staticPodPath": "/etc/kubernetes/manifests",
        });
        let extra = extra.as_object().unwrap().clone();
        let configuration = Kubelet { extra, ..kubelet() }.configuration();
        assert_eq!(configuration["maxPods"], 50);
        assert_eq!(configuration["evictionHard"]["memory.available"], "1Gi");
        assert_eq!(configuration["evictionHard"]["nodefs.available"], "500Mi");
        assert_eq!(
            configuration["authentication"]["anonymous"]["enabled"],
            false
        );
        assert_eq!(configuration["readOnlyPort"], 0);
        assert!(configuration.get("staticPodPath").is_none());
    }

    #[test]
    fn is_traced_only_where_somebody_takes_it() {
        assert!(kubelet().configuration().get("tracing").is_none());
        let tracing = Some(json!({ "endpoint": "unix:///run/otlp.sock" }));
        let configuration = Kubelet {
            tracing,
            ..kubelet()
        }
        .configuration();
        assert_eq!(
            configuration["tracing"]["endpoint"],
            "unix:///run/otlp.sock"
        );
    }

    #[test]
    fn parses_taints() {
        let taint = Taint::parse("a.b/c:NoExecute").unwrap();
        assert_eq!((taint.key.as_str(), taint.value.as_str()), ("a.b/c", ""));
        for text in [
            "",
            "a",
            "a=b",
            "a=b:Sometimes",
            ":NoSchedule",
            "=x:NoSchedule",
        ] {
            assert_eq!(Taint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_kubeconfig_names_one_file_for_certificate_and_key() {
        let config = kubeconfig("https://192.0.2.1:6443", "/ca.pem", "/kubelet.pem");
        let user = &config["users"][0]["user"];
        assert_eq!(user["client-certificate"], user["client-key"]);
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://192.0.2.1:6443"
        );
    }
}
