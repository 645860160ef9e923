//! containerd's configuration file.

/// What the file depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containerd {
    /// Content and snapshots; a volume.
    pub root: String,
    /// Bundles and sockets; tmpfs.
    pub state: String,
    /// Socket that the kubelet dials.
    pub socket: String,
    /// The image of every pod's sandbox.
    pub sandbox_image: String,
    /// Folder of the CNI configuration list.
    pub cni_conf: String,
    /// Folder of the CNI plugins.
    pub cni_bin: String,
    /// Whether the OOM score can't be lowered here (no CAP_SYS_RESOURCE).
    pub restrict_oom_score: bool,
}

impl Containerd {
    /// The file's text.
    pub fn render(&self) -> String {
        let Self {
            root,
            state,
            socket,
            sandbox_image,
            cni_conf,
            cni_bin,
            ..
        } = self;
        let [root, state, socket, sandbox_image, cni_conf, cni_bin] =
            [root, state, socket, sandbox_image, cni_conf, cni_bin].map(|text| quote(text));
        let restrict = self.restrict_oom_score;
        // Plugins that only make noise in a container: other snapshotters, NRI's socket, a folder below /opt.
        format!(
            r#"version = 3
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.image-verifier.v1.bindir",
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.differ.v1.erofs",
]

[grpc]
  address = {socket}

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = {sandbox_image}

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = {restrict}
  tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{cni_bin}]
  conf_dir = {cni_conf}
  max_conf_num = 1
  use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
"#
        )
    }
}

/// A TOML basic string; JSON's escapes are all TOML's too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_image_sockets_and_folders() {
        let text = Containerd {
            root: "/var/lib/containerd".into(),
            state: "/run/containerd".into(),
            socket: "/run/containerd/containerd.sock".into(),
            sandbox_image: "sextant/pause:1".into(),
            cni_conf: "/run/sextant/net.d".into(),
            cni_bin: "/opt/cni/bin".into(),
            restrict_oom_score: true,
        }
        .render();
        for line in [
            "root = \"/var/lib/containerd\"",
            "sandbox = \"sextant/pause:1\"",
            "restrict_oom_score_adj = true",
            "bin_dirs = [\"/opt/cni/bin\"]",
            "conf_dir = \"/run/sextant/net.d\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
