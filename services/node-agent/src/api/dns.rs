//! A resolver for pods where the node's own can't be reached from a pod.

use crate::error::Error;
use sextant_kit::Drain;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Questions under way at once; more are dropped, and the asker repeats them.
const MAX_QUESTIONS: usize = 1024;
/// Longest wait for one server's answer.
const ANSWER: Duration = Duration::from_secs(4);
/// Longest life of a TCP connection.
const TCP_LIFE: Duration = Duration::from_secs(30);
const DNS: u16 = 53;

/// Passes questions on, over UDP and TCP, byte for byte.
pub struct Forwarder {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    servers: Arc<Vec<SocketAddr>>,
    questions: Arc<Semaphore>,
}

impl Forwarder {
    /// Listens on `address` and asks `servers` in order.
    pub async fn bind(address: SocketAddr, servers: Vec<SocketAddr>) -> Result<Self, Error> {
        let failed = |e| Error::network(format!("listening on {address} for DNS"), e);
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        // With port 0 both take the same port.
        let address = tcp.local_addr().map_err(failed)?;
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        Ok(Self {
            udp: Arc::new(udp),
            tcp,
            servers: Arc::new(servers),
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS)),
        })
    }

    /// Servers at the usual port.
    pub fn at_dns_port(servers: &[IpAddr]) -> Vec<SocketAddr> {
        servers
            .iter()
            .map(|server| SocketAddr::new(*server, DNS))
            .collect()
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until drained.
    pub async fn serve(self, drain: Drain) {
        let both = async { tokio::join!(self.serve_udp(&drain), self.serve_tcp(&drain)) };
        let _ = drain.run(both).await;
    }

    async fn serve_udp(&self, drain: &Drain) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, asker) = match self.udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "receiving a DNS question");
                    continue;
                }
            };
            let Ok(permit) = self.questions.clone().try_acquire_owned() else {
                continue;
            };
            let question = buffer[..length].to_vec();
            let (udp, servers) = (Arc::clone(&self.udp), Arc::clone(&self.servers));
            drain.spawn(async move {
                if let Some(answer) = ask(&servers, &question).await {
                    let _ = udp.send_to(&answer, asker).await;
                }
                drop(permit);
            });
        }
    }

    async fn serve_tcp(&self, drain: &Drain) {
        loop {
            let Ok(permit) = self.questions.clone().acquire_owned().await else {
                return;
            };
            let Ok((mut client, _)) = self.tcp.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let servers = Arc::clone(&self.servers);
            drain.spawn(async move {
                for server in servers.iter() {
                    let dial = tokio::time::timeout(ANSWER, TcpStream::connect(server)).await;
                    if let Ok(Ok(mut upstream)) = dial {
                        let copy = copy_bidirectional(&mut client, &mut upstream);
                        let _ = tokio::time::timeout(TCP_LIFE, copy).await;
                        break;
                    }
                }
                drop(permit);
            });
        }
    }
}

/// The first server's answer whose id is the question's.
async fn ask(servers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    let id = question.get(..2)?;
    for server in servers {
        let Ok(socket) = UdpSocket::bind((unspecified(server), 0)).await else {
            continue;
        };
        let sent = match socket.connect(server).await {
            Ok(()) => socket.send(question).await.is_ok(),
            Err(_) => false,
        };
        let mut answer = vec![0; 4096];
        let receive = tokio::time::timeout(ANSWER, socket.recv(&mut answer));
        if sent && let Ok(Ok(length)) = receive.await {
            answer.truncate(length);
            if answer.get(..2) == Some(id) {
                return Some(answer);
            }
        }
    }
    None
}

fn unspecified(server: &SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
