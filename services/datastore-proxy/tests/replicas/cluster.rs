//! Replicas, in process and as processes.

use crate::support::database::Server;
use crate::support::{self, Clients, Served};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::{Process, eventually, free_port};
use std::path::Path;
use std::time::Duration;

/// Three replicas in this process, one of them writing.
pub async fn three(server: &Server) -> (Vec<Served>, Vec<Clients>) {
    let mut replicas = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let served = Served::start_with(support::replica(&server.endpoint("plane"))).await;
        clients.push(served.clients().await);
        replicas.push(served);
    }
    (replicas, clients)
}

pub async fn status(clients: &mut Clients) -> pb::StatusResponse {
    let status = clients.maintenance.status(pb::StatusRequest {});
    status.await.expect("a status").into_inner()
}

/// A replica as a process of its own.
pub struct Replica {
    pub process: Process,
    pub clients: Clients,
    pub member: u64,
}

impl Replica {
    pub async fn spawn(endpoint: &str) -> Self {
        let (port, peer, admin) = (free_port(), free_port(), free_port());
        let listen = format!("127.0.0.1:{port}");
        let peer = format!("peer.listen=127.0.0.1:{peer}");
        let admin = format!("common.admin_listen=127.0.0.1:{admin}");
        let args = [
            "serve",
            "--insecure-loopback",
            "--endpoint",
            endpoint,
            "--listen",
            &listen,
            "--set",
            &peer,
            "--set",
            &admin,
            "--set",
            "common.log_format=text",
        ];
        let program = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
        let process = Process::spawn(program, &args, &[]).expect("it starts");
        let mut clients = connect(port).await;
        let member = status(&mut clients)
            .await
            .header
            .expect("a header")
            .member_id;
        Self {
            process,
            clients,
            member,
        }
    }
}

/// Three processes; the first writes.
pub async fn three_processes(endpoints: [String; 3]) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for endpoint in &endpoints {
        replicas.push(Replica::spawn(endpoint).await);
        let first: &Replica = &replicas[0];
        leader_is(&first.clients, |leader| leader == first.member).await;
    }
    replicas
}

/// Waits until a replica names a leader of which `wanted` holds.
pub async fn leader_is(clients: &Clients, wanted: impl Fn(u64) -> bool) -> u64 {
    eventually(Duration::from_secs(30), "the wanted leader", || {
        let mut clients = clients.clone();
        let wanted = &wanted;
        async move {
            let leader = status(&mut clients).await.leader;
            if wanted(leader) {
                Ok(leader)
            } else {
                Err(leader)
            }
        }
    })
    .await
}

async fn connect(port: u16) -> Clients {
    let url = format!("http://127.0.0.1:{port}");
    let channel = eventually(Duration::from_secs(30), "it serves", || {
        let endpoint = tonic::transport::Channel::from_shared(url.clone()).expect("a URL");
        async move { endpoint.connect().await }
    })
    .await;
    Clients::over(channel)
}
