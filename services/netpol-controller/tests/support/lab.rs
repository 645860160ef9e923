//! Network namespaces for tests: a node's, and one per pod, wired as the ptp plugin does it.

use netpol_controller::nft::kernel::Kernel;
use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, held by a thread that lives in it.
#[derive(Clone)]
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    path: String,
}

impl Namespace {
    /// A new namespace; `None` without the right to make one.
    pub fn new() -> Option<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (born, birth) = mpsc::channel();
        thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET);
            let path = format!(
                "/proc/{}/task/{}/ns/net",
                std::process::id(),
                nix::unistd::gettid()
            );
            born.send(made.map(|()| path)).unwrap();
            for job in queue {
                job();
            }
        });
        let path = birth.recv().unwrap().ok()?;
        let namespace = Self { jobs, path };
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Runs something inside. Threads and processes it starts are inside too.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.jobs
            .send(Box::new(move || done.send(job()).unwrap()))
            .unwrap();
        result.recv().unwrap()
    }

    /// Runs `ip` with one command per line.
    pub fn ip(&self, lines: &str) {
        let lines = lines.to_owned();
        self.run(move || feed("ip", &["-batch", "-"], &lines));
    }

    /// Runs `nft` with commands on its input.
    pub fn nft(&self, commands: &str) -> String {
        let commands = commands.to_owned();
        self.run(move || feed("nft", &["-f", "-"], &commands))
    }

    pub fn sysctl(&self, name: &'static str, value: &'static str) {
        self.run(move || {
            std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value).unwrap();
        });
    }

    /// The kernel's tables there.
    pub fn kernel(&self) -> Kernel {
        self.run(|| Kernel::open().unwrap())
    }
}

fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node with hosts around it.
pub struct Lab {
    pub node: Namespace,
    pub hosts: Vec<Host>,
}

/// A pod's network, or that of somebody outside.
#[derive(Clone)]
pub struct Host {
    pub namespace: Namespace,
    pub name: String,
    pub v4: IpAddr,
    pub v6: IpAddr,
}

/// Addresses of the node itself.
pub const NODE_V4: &str = "192.168.77.1";
pub const NODE_V6: &str = "fd77::1";

impl Lab {
    /// A node that routes between hosts with these names. `None` (and SKIP) where that can't be done.
    pub fn new(names: &[&str]) -> Option<Self> {
        let Some(node) = Namespace::new() else {
            println!("SKIP network namespaces need root");
            return None;
        };
        for setting in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            node.sysctl(setting, "1");
        }
        node.ip(&format!(
            "addr add {NODE_V4}/32 dev lo\naddr add {NODE_V6}/128 dev lo"
        ));
        let hosts = names
            .iter()
            .enumerate()
            .map(|(index, name)| attach(&node, index, name))
            .collect();
        Some(Self { node, hosts })
    }

    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap()
    }
}

fn attach(node: &Namespace, index: usize, name: &str) -> Host {
    let namespace = Namespace::new().unwrap();
    let number = index + 1;
    let (v4, v6) = if name.contains('/') {
        (format!("10.244.1.{number}"), format!("fd44::{number:x}"))
    } else {
        (
            format!("203.0.113.{number}"),
            format!("2001:db8::{number:x}"),
        )
    };
    let path = &namespace.path;
    node.ip(&format!(
        "link add v{number} type veth peer name eth0 netns {path}"
    ));
    namespace.ip(&format!(
        "link set eth0 up
         addr add {v4}/32 dev eth0
         addr add {v6}/128 dev eth0 nodad
         route add 169.254.1.1 dev eth0 scope link
         route add default via 169.254.1.1 dev eth0
         route add ::/0 via fe80::1 dev eth0"
    ));
    node.ip(&format!(
        "link set v{number} up
         addr add 169.254.1.1/32 dev v{number}
         addr add fe80::1/64 dev v{number} nodad
         route add {v4}/32 dev v{number}
         route add {v6}/128 dev v{number}"
    ));
    Host {
        namespace,
        name: name.to_owned(),
        v4: v4.parse().unwrap(),
        v6: v6.parse().unwrap(),
    }
}
