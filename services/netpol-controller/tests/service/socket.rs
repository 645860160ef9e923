//! What the CNI plugin and an operator ask on the node's socket.

use crate::running::{PATIENCE, Running, deny_a, hosts, in_node};
use crate::support::lab::Lab;
use crate::support::objects::{pod, policy};
use netpol_controller::domain::frame::Established;
use serde_json::json;
use sextant_proto::netpol::{EnsurePodRequest, ExplainRequest};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use tokio::time::timeout;

#[test]
fn a_pod_is_ensured_before_the_api_knows_its_address() {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let hosts = hosts(&lab);
    let [(_, a, a6), (_, b, b6), (_, c, _)] =
        [hosts[0].clone(), hosts[1].clone(), hosts[2].clone()];
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts[..1], Established::Cut).await;
        let mode = std::fs::metadata(&running.config.socket)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        running.api.put("networkpolicies", &deny_a());
        running.until(b, a, 80, false).await;
        // The API knows the pod, but no address yet.
        running
            .api
            .put("pods", &pod("x", "c", json!({"pod": "c"}), &[]));
        let ensure = |name: &str, uid: &str, addresses: &[IpAddr]| EnsurePodRequest {
            namespace: "x".into(),
            name: name.into(),
            uid: uid.into(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let answer = running
            .client
            .ensure_pod(ensure("c", "uid-x-c", &[c]))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().policies, 0);
        let (allowed, reasons) = running.allowed(c, a, 80).await;
        assert!(allowed, "{reasons:?}");
        // A pod that the API doesn't show waits, and then says so.
        let refused = running
            .client
            .ensure_pod(ensure("b", "uid-x-b", &[b, b6]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert!(
            refused.message().contains("hasn't shown the pod"),
            "{}",
            refused.message()
        );
        // It is answered as soon as the API shows it. Its policy is in force by then.
        let mut client = running.client.clone();
        let waiting =
            tokio::spawn(async move { client.ensure_pod(ensure("b", "uid-x-b", &[b, b6])).await });
        running.api.put(
            "networkpolicies",
            &policy(
                "x",
                "b",
                json!({"podSelector": {"matchLabels": {"pod": "b"}}}),
            ),
        );
        // Pods and policies come by different watches.
        running.counted("netpol_policies 2").await;
        running
            .api
            .put("pods", &pod("x", "b", json!({"pod": "b"}), &[]));
        let answer = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.into_inner().policies, 1);
        assert!(!running.allowed(a6, b6, 80).await.0);
        assert!(!running.allowed(a, b, 80).await.0);
        running.stop().await;
    });
}

#[test]
fn explain_names_policy_and_rule_and_refuses_nonsense() {
    let Some(lab) = Lab::new(&["x/a", "x/b", "x/c"]) else {
        return;
    };
    let hosts = hosts(&lab);
    in_node(&lab.node, move || async move {
        let mut running = Running::start(&hosts, Established::Cut).await;
        let [a, b, c] = [hosts[0].1, hosts[1].1, hosts[2].1];
        running.api.put("networkpolicies", &deny_a());
        running.until(b, a, 80, false).await;
        let (_, reasons) = running.allowed(b, a, 80).await;
        assert_eq!(
            reasons[0],
            "egress: allowed: no policy restricts egress of x/b"
        );
        assert!(
            reasons[1].starts_with("ingress: denied: NetworkPolicy x/only-c"),
            "{reasons:?}"
        );
        let (allowed, reasons) = running.allowed(c, a, 80).await;
        assert!(allowed);
        assert!(
            reasons[1].contains("ingress rule 0 of NetworkPolicy x/only-c allows x/c"),
            "{reasons:?}"
        );
        for (source, destination, protocol, port) in [
            ("nobody", "10.0.0.1", "TCP", 80),
            ("10.0.0.1", "fd00::1", "TCP", 80),
            ("10.0.0.1", "10.0.0.2", "ICMP", 80),
            ("10.0.0.1", "10.0.0.2", "TCP", 70_000),
        ] {
            let request = ExplainRequest {
                source: source.into(),
                destination: destination.into(),
                protocol: protocol.into(),
                port,
            };
            let refused = running.client.explain(request).await.unwrap_err();
            assert_eq!(
                refused.code(),
                tonic::Code::InvalidArgument,
                "{}",
                refused.message()
            );
        }
        running.stop().await;
    });
}
