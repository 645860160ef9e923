use super::node::{Node, settings};
use super::{feed, in_namespace};

const LEFT_BEHIND: &str = "table inet sextant-netpol {
    chain forward { type filter hook forward priority 1; policy drop; }
}";

fn tables() -> String {
    feed("nft", &["list", "tables"], "")
}

#[test]
fn a_cluster_that_gives_up_network_policy_keeps_nothing_of_it() {
    in_namespace(|| async {
        feed("nft", &["-f", "-"], LEFT_BEHIND);
        let node = Node::start("127.0.0.1", settings(true, vec![])).await;
        let socket = &node.config.policy_socket;
        std::fs::write(socket, "").unwrap();
        node.hooks_pods(true).await;
        assert!(tables().contains("sextant-netpol"), "{}", tables());
        assert!(socket.exists());

        node.last.set(settings(false, vec![]));
        node.hooks_pods(false).await;
        assert!(!tables().contains("sextant-netpol"), "{}", tables());
        assert!(tables().contains("sextant-node"), "{}", tables());
        assert!(!socket.exists());

        node.last.set(settings(true, vec![]));
        node.hooks_pods(true).await;
    });
}

#[test]
fn a_cluster_that_never_had_it_starts_without_it() {
    in_namespace(|| async {
        feed("nft", &["-f", "-"], LEFT_BEHIND);
        let node = Node::start("127.0.0.1", settings(false, vec![])).await;
        node.hooks_pods(false).await;
        assert!(!tables().contains("sextant-netpol"), "{}", tables());
    });
}
