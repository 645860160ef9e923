use super::in_namespace;
use node_agent::api::Balancer;
use sextant_kit::Drain;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A server that answers each connection with its name.
async fn server(name: &'static str, address: &str) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            });
        }
    });
    (address, task)
}

async fn balancer(servers: &watch::Sender<Vec<String>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, _) = Drain::new();
    tokio::spawn(Balancer::new(servers.subscribe()).serve(listener, drain));
    address
}

async fn ask(address: SocketAddr) -> (u8, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let name = stream.read_u8().await.unwrap();
    (name, stream)
}

#[test]
fn a_killed_server_is_passed_over() {
    in_namespace(|| async {
        let (a, killed) = server("a", "127.0.0.1:0").await;
        let (b, _running) = server("b", "127.0.0.1:0").await;
        let servers = watch::Sender::new(vec![a, b]);
        let address = balancer(&servers).await;
        let mut seen = [false; 2];
        while seen != [true; 2] {
            seen[usize::from(ask(address).await.0 - b'a')] = true;
        }
        killed.abort();
        assert!(killed.await.unwrap_err().is_cancelled());
        for _ in 0..20 {
            assert_eq!(ask(address).await.0, b'b');
        }
    });
}

#[test]
fn a_server_that_left_the_list_loses_its_connections() {
    in_namespace(|| async {
        let (a, _a) = server("a", "127.0.0.1:0").await;
        let (b, _b) = server("b", "127.0.0.1:0").await;
        let servers = watch::Sender::new(vec![a]);
        let address = balancer(&servers).await;
        let (name, mut held) = ask(address).await;
        assert_eq!(name, b'a');
        servers.send_replace(vec![b]);
        let mut rest = Vec::new();
        let ended = held.read_to_end(&mut rest).await;
        assert!(ended.is_err() || rest.is_empty());
        assert_eq!(ask(address).await.0, b'b');
    });
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    in_namespace(|| async {
        let servers = watch::Sender::new(vec!["127.0.0.1:7001".to_owned()]);
        let address = balancer(&servers).await;
        let mut refused = TcpStream::connect(address).await.unwrap();
        assert!(refused.read_u8().await.is_err());
        let (_, _running) = server("a", "127.0.0.1:7001").await;
        assert_eq!(ask(address).await.0, b'a');
    });
}
