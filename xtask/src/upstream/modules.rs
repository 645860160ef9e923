//! Which modules there are, in which versions, and how their programs are built.

/// Version of Kubernetes, as `images/upstream/kubernetes/go.mod` pins it.
pub const KUBERNETES: &str = "v1.37.2";

/// Version of containerd, as `images/upstream/containerd/go.mod` pins it.
const CONTAINERD: &str = "v2.4.2";

/// Version of upstream's pause, as its Makefile in that module names it.
pub const PAUSE: &str = "3.10.2";

/// Version of local-path-provisioner, as `images/upstream/local-path-provisioner/go.mod` pins it.
pub const LOCAL_PATH_PROVISIONER: &str = "v0.0.30";

/// Version of metrics-server, as `images/upstream/metrics-server/go.mod` pins it.
pub const METRICS_SERVER: &str = "v0.9.0";

/// Version of Helm, as `images/upstream/helm/go.mod` pins it.
const HELM: &str = "v4.3.1";

/// Version of the collector's modules, as `images/upstream/collector/go.mod` pins it.
const COLLECTOR_RELEASE: &str = "v0.161.0";

/// One go.mod and the programs that are built from it.
pub(super) struct Module {
    /// Folder under images/upstream.
    pub(super) folder: &'static str,
    /// Packages, each with the name its program has.
    pub(super) packages: &'static [(&'static str, &'static str)],
    pub(super) tags: &'static str,
    pub(super) cgo: bool,
    pub(super) linker_flags: fn() -> String,
}

pub(super) const MODULES: &[Module] = &[
    Module {
        folder: "kubernetes",
        packages: &[
            ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
            (
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                "kube-controller-manager",
            ),
            ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
            ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
            ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
            ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ],
        tags: "",
        cgo: false,
        linker_flags: kubernetes_flags,
    },
    Module {
        folder: "containerd",
        packages: &[
            (
                "github.com/containerd/containerd/v2/cmd/containerd",
                "containerd",
            ),
            (
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                "containerd-shim-runc-v2",
            ),
            ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        ],
        tags: "no_btrfs no_devmapper no_zfs",
        cgo: false,
        linker_flags: containerd_flags,
    },
    Module {
        folder: "runc",
        packages: &[("github.com/opencontainers/runc", "runc")],
        // Without seccomp every pod with a profile fails to start.
        tags: "seccomp netgo osusergo",
        cgo: true,
        linker_flags: static_flags,
    },
    Module {
        folder: "cni",
        packages: &[
            (
                "github.com/containernetworking/plugins/plugins/main/ptp",
                "ptp",
            ),
            (
                "github.com/containernetworking/plugins/plugins/main/loopback",
                "loopback",
            ),
            (
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
                "host-local",
            ),
            (
                "github.com/containernetworking/plugins/plugins/meta/portmap",
                "portmap",
            ),
        ],
        tags: "",
        cgo: false,
        linker_flags: plain_flags,
    },
    Module {
        folder: "coredns",
        packages: &[(".", "coredns")],
        tags: "",
        cgo: false,
        linker_flags: plain_flags,
    },
    Module {
        folder: "local-path-provisioner",
        packages: &[(
            "github.com/rancher/local-path-provisioner",
            "local-path-provisioner",
        )],
        tags: "",
        cgo: false,
        linker_flags: local_path_flags,
    },
    Module {
        folder: "metrics-server",
        packages: &[(
            "sigs.k8s.io/metrics-server/cmd/metrics-server",
            "metrics-server",
        )],
        tags: "",
        cgo: false,
        linker_flags: metrics_server_flags,
    },
    Module {
        folder: "etcd",
        packages: &[("go.etcd.io/etcd/server/v3", "etcd")],
        tags: "",
        cgo: false,
        linker_flags: plain_flags,
    },
    // For the tests alone: no image has it.
    Module {
        folder: "etcd",
        packages: &[("go.etcd.io/etcd/etcdctl/v3", "etcdctl")],
        tags: "",
        cgo: false,
        linker_flags: plain_flags,
    },
];

/// What datastore-proxy is measured beside and imports from; no image needs it.
pub(super) const KINE: Module = Module {
    folder: "kine",
    packages: &[("github.com/k3s-io/kine", "kine")],
    tags: "",
    // Its quicker driver: SQLite itself, not a translation of it.
    cgo: true,
    linker_flags: plain_flags,
};

/// What installs the chart in the tests; no image has it.
pub(super) const HELM_CLIENT: Module = Module {
    folder: "helm",
    packages: &[("helm.sh/helm/v4/cmd/helm", "helm")],
    tags: "",
    cgo: false,
    linker_flags: helm_flags,
};

/// What takes in the services' telemetry; only clusters that are observed have it.
pub(super) const COLLECTOR: Module = Module {
    folder: "collector",
    packages: &[(".", "collector")],
    tags: "",
    cgo: false,
    linker_flags: collector_flags,
};

fn plain_flags() -> String {
    "-s -w".to_owned()
}

fn containerd_flags() -> String {
    let package = "github.com/containerd/containerd/v2/version";
    format!("{} -X {package}.Version={CONTAINERD}", plain_flags())
}

fn helm_flags() -> String {
    let package = "helm.sh/helm/v4/internal/version";
    format!("{} -X {package}.version={HELM}", plain_flags())
}

fn local_path_flags() -> String {
    format!("{} -X main.VERSION={LOCAL_PATH_PROVISIONER}", plain_flags())
}

fn metrics_server_flags() -> String {
    let package = "k8s.io/client-go/pkg/version";
    format!("{} -X {package}.gitVersion={METRICS_SERVER}", plain_flags())
}

fn collector_flags() -> String {
    format!("{} -X main.version={COLLECTOR_RELEASE}", plain_flags())
}

fn static_flags() -> String {
    "-s -w -extldflags -static".to_owned()
}

/// Upstream's release build stamps its version in the same way.
fn kubernetes_flags() -> String {
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
    let mut flags = plain_flags();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        flags.push_str(&format!(
            " -X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
        ));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths;

    #[test]
    fn stamped_versions_are_the_pinned_ones() {
        let pinned = |folder: &str, module: &str| {
            let file = paths::root()
                .join("images/upstream")
                .join(folder)
                .join("go.mod");
            let text = std::fs::read_to_string(file).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(&format!("{module} v")))
                .unwrap();
            line.split_whitespace()
                .find(|word| word.starts_with('v') && word.contains('.'))
                .unwrap()
                .to_owned()
        };
        assert_eq!(pinned("kubernetes", "k8s.io/kubernetes"), KUBERNETES);
        assert_eq!(
            pinned("containerd", "github.com/containerd/containerd/v2"),
            CONTAINERD
        );
        assert_eq!(
            pinned(
                "local-path-provisioner",
                "github.com/rancher/local-path-provisioner"
            ),
            LOCAL_PATH_PROVISIONER
        );
        assert_eq!(
            pinned("metrics-server", "sigs.k8s.io/metrics-server"),
            METRICS_SERVER
        );
        assert_eq!(pinned("helm", "helm.sh/helm/v4"), HELM);
        assert_eq!(
            pinned("collector", "go.opentelemetry.io/collector/otelcol"),
            COLLECTOR_RELEASE
        );
    }
}
