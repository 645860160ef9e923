//! The client against a real kube-apiserver, with the rights that a pod would have.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use serde_json::json;
use sextant_hosting::{Client, ConfigMap, Error, Metadata, Secret, Value};
use sextant_testkit::HostingCluster;

#[tokio::test]
async fn objects_and_reviews() {
    let Some(cluster) = HostingCluster::start().await else {
        return;
    };
    cluster.namespace("plane").await;
    let account = cluster.account("plane", "keeper").await;
    account
        .grant(json!([
            {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["secrets", "configmaps"],
                "resourceNames": ["ours"], "verbs": ["get", "patch"]},
        ]))
        .await;
    let client = Client::new(&account.pod().await).unwrap();
    secrets(&client).await;
    config_maps(&client).await;

    let asked = client.review("x", "here").await.unwrap_err();
    assert!(refusal(&asked, 403).contains("tokenreviews"), "{asked}");
    account
        .grant_cluster(json!([{"apiGroups": ["authentication.k8s.io"],
            "resources": ["tokenreviews"], "verbs": ["create"]}]))
        .await;
    let token = account.token("here").await;
    let review = client.review(&token, "here").await.unwrap();
    assert!(review.authenticated, "{review:?}");
    assert_eq!(review.audiences, ["here"]);
    assert_eq!(review.user.username, "system:serviceaccount:plane:keeper");
    let elsewhere = client.review(&token, "there").await.unwrap();
    assert!(!elsewhere.authenticated, "{elsewhere:?}");
}

async fn secrets(client: &Client) {
    let secret = |keys: &[&str]| Secret {
        metadata: Metadata::named("ours"),
        data: keys
            .iter()
            .map(|key| ((*key).to_owned(), Value::from(&b"\0hush"[..])))
            .collect(),
    };
    assert_eq!(client.get::<Secret>("ours").await.unwrap(), None);
    let made = client.create(&secret(&["a"])).await.unwrap();
    let again = client.create(&secret(&["z"])).await.unwrap_err();
    assert!(again.is_conflict(), "{again}");

    let mut change = secret(&["b"]);
    change.metadata.resource_version = made.metadata.resource_version;
    client.merge(&change).await.unwrap();
    let late = client.merge(&change).await.unwrap_err();
    assert!(late.is_conflict(), "{late}");
    let both = client.get::<Secret>("ours").await.unwrap().unwrap();
    assert_eq!(both.data, secret(&["a", "b"]).data);

    let other = client.get::<Secret>("theirs").await.unwrap_err();
    assert!(refusal(&other, 403).contains("theirs"), "{other}");
}

async fn config_maps(client: &Client) {
    let map = |text: &str| ConfigMap {
        metadata: Metadata::named("ours"),
        data: [("ca.pem".to_owned(), text.to_owned())].into(),
    };
    client.create(&map("one")).await.unwrap();
    client.merge(&map("two")).await.unwrap();
    let read = client.get::<ConfigMap>("ours").await.unwrap().unwrap();
    assert_eq!(read.data["ca.pem"], "two");
}

fn refusal(error: &Error, wanted: u16) -> &str {
    match error {
        Error::Refused {
            status, message, ..
        } if status.as_u16() == wanted => message,
        other => panic!("{other}"),
    }
}
