//! Seal and KMS v2.

use crate::harness::{Running, Volumes};
use sextant_identity::{Channel, Identity, Mesh, Peer, ServiceName};
use sextant_proto::certauthority::seal_client::SealClient;
use sextant_proto::certauthority::{SealRequest, UnsealRequest};
use sextant_proto::kms::key_management_service_client::KeyManagementServiceClient;
use sextant_proto::kms::{DecryptRequest, EncryptRequest, StatusRequest};
use tonic::{Code, Status};

async fn mesh(running: &Running, volumes: &Volumes, service: ServiceName) -> Mesh {
    running.mesh(volumes, &Identity::Service(service)).await
}

fn channel(running: &Running, mesh: &Mesh) -> Channel {
    mesh.channel(&running.address, Peer::Service(ServiceName::CertAuthority))
}

async fn unseal(
    client: &mut SealClient<Channel>,
    sealed: &[u8],
    purpose: &str,
) -> Result<Vec<u8>, Status> {
    let request = UnsealRequest {
        sealed: sealed.to_vec().into(),
        purpose: purpose.to_owned(),
    };
    Ok(client
        .unseal(request)
        .await?
        .into_inner()
        .plaintext
        .to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_secret_opens_for_its_owner_after_a_restart_and_for_nobody_else() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let owner = mesh(&running, &volumes, ServiceName::TokenService).await;
    let mut client = SealClient::new(channel(&running, &owner));
    let request = SealRequest {
        plaintext: b"sa-key"[..].into(),
        purpose: "signing".to_owned(),
    };
    let sealed = client.seal(request).await.unwrap().into_inner().sealed;
    running.stop().await;

    let running = Running::start(&volumes).await;
    let owner = mesh(&running, &volumes, ServiceName::TokenService).await;
    let mut client = SealClient::new(channel(&running, &owner));
    assert_eq!(
        unseal(&mut client, &sealed, "signing").await.unwrap(),
        b"sa-key"
    );
    let status = unseal(&mut client, &sealed, "other").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = unseal(&mut client, &sealed[1..], "signing")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    for service in ServiceName::ALL {
        if *service == ServiceName::TokenService {
            continue;
        }
        let other = mesh(&running, &volumes, *service).await;
        let mut client = SealClient::new(channel(&running, &other));
        let status = unseal(&mut client, &sealed, "signing").await.unwrap_err();
        let expected = match service {
            ServiceName::Supervisor => Code::InvalidArgument,
            _ => Code::PermissionDenied,
        };
        assert_eq!(status.code(), expected, "{service}: {status:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_wraps_and_unwraps_under_one_key_id() {
    let volumes = Volumes::new();
    let running = Running::start(&volumes).await;
    let apiserver = mesh(&running, &volumes, ServiceName::KubeApiserver).await;
    let mut client = KeyManagementServiceClient::new(channel(&running, &apiserver));
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(
        (status.version.as_str(), status.healthz.as_str()),
        ("v2", "ok")
    );
    assert!(!status.key_id.is_empty() && status.key_id.len() < 1024);

    let seed = EncryptRequest {
        plaintext: vec![7; 32].into(),
        uid: "u".to_owned(),
    };
    let wrapped = client.encrypt(seed).await.unwrap().into_inner();
    assert_eq!(wrapped.key_id, status.key_id);
    assert!(wrapped.ciphertext.len() < 1024);
    let decrypt = |key_id: &str| DecryptRequest {
        ciphertext: wrapped.ciphertext.clone(),
        uid: "u".to_owned(),
        key_id: key_id.to_owned(),
        annotations: Default::default(),
    };
    let plain = client
        .decrypt(decrypt(&status.key_id))
        .await
        .unwrap()
        .into_inner()
        .plaintext;
    assert_eq!(plain, vec![7; 32]);
    let refused = client.decrypt(decrypt("another")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&status.key_id), "{refused:?}");
    let long = EncryptRequest {
        plaintext: vec![0; 1024].into(),
        uid: String::new(),
    };
    assert_eq!(
        client.encrypt(long).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    for service in ServiceName::ALL
        .iter()
        .filter(|name| **name != ServiceName::KubeApiserver)
    {
        let other = mesh(&running, &volumes, *service).await;
        let mut client = KeyManagementServiceClient::new(channel(&running, &other));
        let refused = client.decrypt(decrypt(&status.key_id)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{service}");
    }
    running.stop().await;

    // The key stays with the keyring.
    let running = Running::start(&volumes).await;
    let apiserver = mesh(&running, &volumes, ServiceName::KubeApiserver).await;
    let mut client = KeyManagementServiceClient::new(channel(&running, &apiserver));
    assert_eq!(
        client
            .decrypt(decrypt(&status.key_id))
            .await
            .unwrap()
            .into_inner()
            .plaintext,
        plain
    );
    running.stop().await;
}
