use super::in_namespace;
use node_agent::domain::overlay::{Change, Entries};
use node_agent::network::{Netlink, VxlanDevice};
use sextant_proto::supervisor::Peer;

fn device() -> VxlanDevice {
    VxlanDevice {
        name: "sx-vxlan".into(),
        vni: 4097,
        port: 8472,
        local: "127.0.0.1".parse().unwrap(),
        mac: "02:00:00:00:00:0a".parse().unwrap(),
        address: "10.244.0.0".parse().unwrap(),
        mtu: 1450,
    }
}

fn peer(number: u8, address: &str) -> Peer {
    Peer {
        name: format!("node-{number}"),
        addresses: vec![address.into()],
        pod_cidr: format!("10.244.{number}.0/24"),
        vtep_mac: format!("02:00:00:00:01:{number:02x}"),
    }
}

#[test]
fn the_kernel_follows_the_peers() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let index = netlink.ensure_vxlan(&device()).await.unwrap();
        let own = "10.244.0.0/24".parse().unwrap();
        let fleets = [
            vec![peer(1, "127.0.0.2"), peer(2, "127.0.0.3")],
            // One moved, one left, one came.
            vec![peer(1, "127.0.0.9"), peer(3, "127.0.0.4")],
            vec![],
        ];
        for fleet in fleets {
            let desired = Entries::desired(&fleet, &own);
            let change = netlink.entries(index).await.unwrap().change_to(&desired);
            netlink.apply(index, &change).await.unwrap();
            assert_eq!(netlink.entries(index).await.unwrap(), desired);
            let again = netlink.entries(index).await.unwrap().change_to(&desired);
            assert_eq!(again, Change::default(), "a second look changes nothing");
        }
    });
}

#[test]
fn the_device_is_kept_until_its_parameters_change() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        let first = netlink.ensure_vxlan(&device()).await.unwrap();
        assert_eq!(netlink.ensure_vxlan(&device()).await.unwrap(), first);
        let smaller = VxlanDevice {
            mtu: 1350,
            ..device()
        };
        assert_eq!(netlink.ensure_vxlan(&smaller).await.unwrap(), first);
        let moved = VxlanDevice {
            address: "10.244.9.0".parse().unwrap(),
            ..device()
        };
        assert_eq!(netlink.ensure_vxlan(&moved).await.unwrap(), first);
        let other = VxlanDevice {
            vni: 4098,
            ..device()
        };
        assert_ne!(netlink.ensure_vxlan(&other).await.unwrap(), first);
    });
}

#[test]
fn the_apis_address_is_there_with_or_without_a_dummy_interface() {
    in_namespace(|| async {
        let netlink = Netlink::open().unwrap();
        for _ in 0..2 {
            netlink
                .ensure_dummy("sextant-api", "192.0.2.1".parse().unwrap())
                .await
                .unwrap();
            tokio::net::TcpListener::bind("192.0.2.1:0").await.unwrap();
        }
        assert!(
            tokio::net::TcpListener::bind("127.0.0.1:0").await.is_ok(),
            "lo keeps its own"
        );
    });
}
