use super::in_namespace;
use node_agent::api::Forwarder;
use sextant_kit::Drain;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Answers each question with the question and an exclamation mark, over UDP and TCP.
async fn resolver() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, asker)) = udp.recv_from(&mut buffer).await {
            let answer = [&buffer[..length], b"!"].concat();
            udp.send_to(&answer, asker).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut question = [0; 4];
            stream.read_exact(&mut question).await.unwrap();
            stream
                .write_all(&[&question[..], b"!"].concat())
                .await
                .unwrap();
        }
    });
    address
}

#[test]
fn questions_pass_over_udp_and_tcp() {
    in_namespace(|| async {
        let resolver = resolver().await;
        // Nobody listens at the first: the second is asked.
        let dead = "127.0.0.1:9".parse().unwrap();
        let forwarder = Forwarder::bind("127.0.0.1:0".parse().unwrap(), vec![dead, resolver]);
        let forwarder = forwarder.await.unwrap();
        let address = forwarder.address().unwrap();
        let (drain, _) = Drain::new();
        tokio::spawn(forwarder.serve(drain));

        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        asker.send_to(b"\x01\x02hi", address).await.unwrap();
        let mut answer = [0; 16];
        let length = asker.recv(&mut answer).await.unwrap();
        assert_eq!(&answer[..length], b"\x01\x02hi!");

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"abcd").await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"abcd!");
    });
}
