//! How a node is started as a container, so that it joins.
use std::path::Path;

/// What kubelet, containerd and the pod network need, one by one: the list of `compose/compose.yaml`.
const CAPABILITIES: [&str; 18] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYSLOG",
];

const TMPFS: [&str; 4] = [
    "/run:exec,mode=0755,size=256m",
    "/tmp:mode=1777,size=256m",
    "/var/lib/cni:mode=0755,size=16m",
    "/etc/cni:mode=0755,size=1m",
];

const SECURITY: [&str; 3] = [
    "seccomp=unconfined",
    "apparmor=unconfined",
    "systempaths=unconfined",
];

const SYSCTLS: [&str; 2] = ["net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=10"];

/// Folders that outlive the container: the end of the volume's name, and where it is mounted.
const VOLUMES: [(&str, &str); 4] = [
    ("", "/var/lib/sextant"),
    ("-containerd", "/var/lib/containerd"),
    ("-kubelet", "/var/lib/kubelet"),
    ("-log", "/var/log"),
];

/// A node to be.
#[derive(Clone, Copy, Debug)]
pub struct NodeContainer<'a> {
    /// Name of node, container and volumes.
    pub name: &'a str,
    /// The join token's file on that machine, absolute.
    pub token_file: &'a Path,
    /// Where it reaches supervisors, `host:port`; none for the image's default.
    pub supervisors: &'a [String],
    /// Docker network, if not the default one.
    pub network: Option<&'a str>,
}

impl NodeContainer<'_> {
    /// `docker run …`, argument by argument. The token is a mounted file: arguments are seen by everybody.
    #[must_use]
    pub fn run(&self) -> Vec<String> {
        let name = self.name;
        let mut run: Vec<String> = ["docker", "run", "--detach", "--restart", "unless-stopped"]
            .map(str::to_owned)
            .into();
        let mut add = |flag: &str, value: &str| {
            run.push(flag.to_owned());
            run.push(value.to_owned());
        };
        add("--name", name);
        add("--hostname", name);
        if let Some(network) = self.network {
            add("--network", network);
        }
        add("--env", &format!("SEXTANT_NAME={name}"));
        if !self.supervisors.is_empty() {
            let list = serde_json::Value::from(self.supervisors);
            add("--env", &format!("SEXTANT_SUPERVISORS={list}"));
        }
        add("--stop-timeout", "30");
        add("--cgroupns", "private");
        add("--device", "/dev/kmsg");
        add("--cap-drop", "ALL");
        let repeated: [(&str, &[&str]); 4] = [
            ("--cap-add", &CAPABILITIES),
            ("--security-opt", &SECURITY),
            ("--sysctl", &SYSCTLS),
            ("--tmpfs", &TMPFS),
        ];
        for (flag, values) in repeated {
            for value in values {
                add(flag, value);
            }
        }
        let token = format!("{}:/join/token:ro", self.token_file.display());
        add("--volume", &token);
        for (ending, folder) in VOLUMES {
            add("--volume", &format!("{name}{ending}:{folder}"));
        }
        run.push("--read-only".to_owned());
        run.push(concat!("sextant/node:", env!("CARGO_PKG_VERSION")).to_owned());
        run
    }
}

/// A command for a shell, over several lines; a flag stays with its value.
#[must_use]
pub fn shell(command: &[String]) -> String {
    let mut text = String::new();
    let mut width = 0;
    let mut words = command.iter().peekable();
    while let Some(word) = words.next() {
        let mut piece = quoted(word);
        if word.starts_with("--")
            && let Some(value) = words.next_if(|next| !next.starts_with("--"))
        {
            piece = format!("{piece} {}", quoted(value));
        }
        if width + piece.len() > 100 {
            text.push_str(" \\\n    ");
            width = 4;
        } else if width > 0 {
            text.push(' ');
        }
        width += piece.len() + 1;
        text.push_str(&piece);
    }
    text
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/:.,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeContainer<'static> {
        NodeContainer {
            name: "node-3",
            token_file: Path::new("/tmp/a token"),
            supervisors: &[],
            network: Some("sextant_nodes"),
        }
    }

    /// The lists under `key:` of the compose file's node, as they stand there.
    fn listed(compose: &str, key: &str) -> Vec<String> {
        let node = compose.split("x-node:").nth(1).unwrap();
        let node = node.split("\nservices:").next().unwrap();
        let list = node.split(&format!("  {key}:")).nth(1).unwrap();
        let lines = list.lines().skip(1);
        let lines =
            lines.take_while(|line| line.starts_with("    ") || line.trim().starts_with('#'));
        let items = lines.filter(|line| !line.trim().starts_with('#'));
        items
            .map(|line| line.trim().trim_start_matches("- ").to_owned())
            .collect()
    }

    #[test]
    fn is_as_the_compose_file_starts_nodes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose/compose.yaml");
        let compose = std::fs::read_to_string(root).unwrap();
        assert_eq!(listed(&compose, "cap_add"), CAPABILITIES);
        assert_eq!(listed(&compose, "tmpfs"), TMPFS);
        let sysctls = listed(&compose, "sysctls");
        let sysctls = sysctls
            .iter()
            .map(|line| line.replace(": ", "=").replace('"', ""));
        assert_eq!(sysctls.collect::<Vec<_>>(), SYSCTLS);
        let security = compose
            .lines()
            .find(|line| line.contains("seccomp="))
            .unwrap();
        assert!(SECURITY.iter().all(|option| security.contains(option)));
        for (ending, folder) in VOLUMES {
            assert!(
                compose.contains(&format!("- node-1{ending}:{folder}")),
                "{folder}"
            );
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let run = node().run();
        let script = shell(&run).replacen("docker", "printf '%s\\n'", 1);
        let said = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), run[1..]);
        assert!(shell(&run).lines().all(|line| line.len() < 130));
    }

    #[test]
    fn supervisors_are_named_where_they_are_known() {
        let known = ["sextant.example.org:9443".to_owned()];
        let run = NodeContainer {
            supervisors: &known,
            network: None,
            ..node()
        }
        .run();
        let wanted = r#"SEXTANT_SUPERVISORS=["sextant.example.org:9443"]"#;
        assert!(run.iter().any(|word| word == wanted), "{run:?}");
        assert!(!run.iter().any(|word| word == "--network"));
        assert!(!node().run().iter().any(|word| word.contains("SUPERVISORS")));
    }
}
