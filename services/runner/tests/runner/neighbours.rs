//! The sockets that lead kube-apiserver to the other parts.

use sextant_proto::{externaljwt as jwt, kms};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::transport::{Channel, Endpoint};

use crate::{component, support::Surroundings, surroundings};

pub async fn socket(around: &Surroundings, name: &str) -> Channel {
    let path = around.run_folder().join(name);
    let connect = move |_| {
        let path = path.clone();
        async move {
            UnixStream::connect(path)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    };
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint
        .connect_with_connector(tower::service_fn(connect))
        .await
        .unwrap()
}

#[tokio::test]
async fn the_sockets_lead_to_the_neighbours() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;

    let mut signer = jwt::external_jwt_signer_client::ExternalJwtSignerClient::new(
        socket(&around, "jwt.sock").await,
    );
    let claims = "e30".to_owned();
    let signed = signer
        .sign(jwt::SignJwtRequest { claims })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(signed.signature, "signed-e30");

    let mut kms = kms::key_management_service_client::KeyManagementServiceClient::new(
        socket(&around, "kms.sock").await,
    );
    let plaintext = vec![1, 2, 3].into();
    let request = kms::EncryptRequest {
        plaintext,
        ..Default::default()
    };
    let encrypted = kms.encrypt(request).await.unwrap().into_inner();
    let request = kms::DecryptRequest {
        ciphertext: encrypted.ciphertext,
        ..kms::DecryptRequest::default()
    };
    assert_eq!(
        &*kms.decrypt(request).await.unwrap().into_inner().plaintext,
        [1, 2, 3]
    );
    runner.stop().await;
}

/// Sends `request` to the egress socket; the connection and the head of the answer.
async fn ask(around: &Surroundings, request: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(around.run_folder().join("egress.sock"))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn connect_carries_bytes_both_ways_and_passes_the_end_on() {
    let Some(program) = component() else { return };
    let around = surroundings(&[], &[]).await;
    let runner = around.run(&program);
    runner.ready().await;
    // As kube-apiserver asks.
    let (mut stream, head) = ask(
        &around,
        "CONNECT echo:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(
        received
            .strip_suffix(b"bye")
            .is_some_and(|echoed| echoed == sent)
    );

    let (_, head) = ask(&around, "CONNECT node-9:10250 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 502 no such node\r\n"), "{head}");
    let (_, head) = ask(&around, "CONNECT node-9 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (_, head) = ask(&around, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    runner.stop().await;
}
