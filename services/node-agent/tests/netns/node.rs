//! A node's network as the agent keeps it, in the namespace of the test.

use node_agent::config::Config;
use node_agent::network::Network;
use node_agent::store::{Last, State};
use sextant_kit::{Context, DrainTrigger};
use sextant_proto::supervisor::{NodeConfig, NodeSettings, Peer, Vxlan};
use sextant_testkit::eventually;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) last: Last,
    pub(crate) config: Config,
    _addresses: watch::Sender<Vec<IpAddr>>,
    _trigger: DrainTrigger,
    _folder: tempfile::TempDir,
}

/// What a supervisor would send to the node that has `10.244.1.0/24`.
pub(crate) fn settings(network_policy: bool, peers: Vec<Peer>) -> NodeConfig {
    NodeConfig {
        settings: Some(NodeSettings {
            api_address: "192.0.2.1".into(),
            cluster_cidr: "10.244.0.0/16".into(),
            vxlan: Some(Vxlan {
                vni: 4097,
                port: 8472,
            }),
            network_policy,
            ..NodeSettings::default()
        }),
        pod_cidr: "10.244.1.0/24".into(),
        peers,
    }
}

impl Node {
    /// Starts it with `underlay` as its address, which some interface must have, and waits until it is set up.
    pub(crate) async fn start(underlay: &str, wanted: NodeConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            run_dir: folder.path().join("run"),
            policy_socket: folder.path().join("netpol.sock"),
            ..Config::default()
        };
        std::fs::create_dir_all(config.cni_conf_dir()).unwrap();
        let last = Last::new(&State::new(folder.path().join("state")), wanted).unwrap();
        let mac = "02:00:00:00:00:0a".parse().unwrap();
        let network = Network::new(Arc::new(config.clone()), mac).unwrap();
        let (addresses, own) = watch::channel(vec![underlay.parse().unwrap()]);
        let (ctx, trigger) = Context::new();
        let task = ctx.readiness.task("pod network");
        tokio::spawn(network.run(last.clone(), own, task, ctx.drain.clone()));
        eventually(DEADLINE, "the network is set up", || async {
            match ctx.readiness.waiting() {
                waiting if waiting.is_empty() => Ok(()),
                waiting => Err(waiting),
            }
        })
        .await;
        Self {
            last,
            config,
            _addresses: addresses,
            _trigger: trigger,
            _folder: folder,
        }
    }

    fn conflist(&self) -> PathBuf {
        self.config.cni_conf_dir().join("10-sextant.conflist")
    }

    /// Waits until new pods do or don't get the policy hook, which is decided last.
    pub(crate) async fn hooks_pods(&self, wanted: bool) {
        eventually(DEADLINE, "the configuration list is written", || async {
            let list = std::fs::read_to_string(self.conflist()).unwrap();
            if list.contains("sextant-policy") == wanted {
                Ok(())
            } else {
                Err(list)
            }
        })
        .await;
    }
}
