use crate::supervisor::Supervisor;
use node_agent::error::Error;
use node_agent::join::{Joiner, Token};
use node_agent::store::{Purpose, State};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const ADDRESSES: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

pub(crate) fn joiner(supervisor: &Supervisor, folder: &Path) -> Joiner {
    Joiner {
        name: "node-1".parse().unwrap(),
        supervisors: vec![supervisor.address.clone()],
        token: Token::File(folder.join("token")),
        state: State::new(folder.join("state")),
    }
}

async fn refused(joiner: &Joiner) -> String {
    match joiner.attempt(&ADDRESSES).await {
        Ok(_) => panic!("it joined"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_node_joins_once_and_its_keys_stay_private() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _seen) = Supervisor::start().await;
    let joiner = joiner(&supervisor, folder.path());
    std::fs::write(folder.path().join("token"), supervisor.token() + "\n").unwrap();
    let joined = joiner.attempt(&ADDRESSES).await.unwrap();
    assert_eq!(joined.config.settings, Some(supervisor.settings()));
    let again = joiner.attempt(&ADDRESSES).await.unwrap();
    assert_eq!(again.credentials.chain, joined.credentials.chain);
    assert_eq!(
        supervisor.counts(),
        (1, 0, 0),
        "the second start asks nobody"
    );
    for path in [
        folder.path().join("state/mesh.key"),
        joiner.state.pem(Purpose::KubeletClient),
        joiner.state.pem(Purpose::KubeletServing),
        joiner.state.pem(Purpose::KubeProxy),
    ] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn bad_tokens_are_told_apart_and_nothing_is_sent_to_a_stranger() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _seen) = Supervisor::start().await;
    let joiner = joiner(&supervisor, folder.path());
    let write = |token: &str| std::fs::write(folder.path().join("token"), token).unwrap();

    let error = refused(&joiner).await;
    assert!(
        error.contains("no join token in") && error.contains("sextant token create"),
        "{error}"
    );
    write("abc123:topsecret");
    let error = refused(&joiner).await;
    assert!(!error.contains("topsecret"), "{error}");
    write(&format!("K10{}::abc123:topsecret", "0".repeat(64)));
    let error = refused(&joiner).await;
    assert!(
        error.contains("SHA-256") && !error.contains("topsecret"),
        "{error}"
    );
    assert_eq!(supervisor.counts(), (0, 0, 0), "no request was made");

    write(&supervisor.token());
    for code in ["token_expired", "node_name_taken"] {
        supervisor.refuse(Some(code));
        let error = refused(&joiner).await;
        assert!(
            error.contains(code) && !error.contains("topsecret"),
            "{error}"
        );
    }
    supervisor.refuse(None);
    joiner.attempt(&ADDRESSES).await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_away_proves_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _seen) = Supervisor::start().await;
    let joiner = joiner(&supervisor, folder.path());
    std::fs::write(folder.path().join("token"), supervisor.token()).unwrap();
    supervisor.set_life(Duration::ZERO);
    let joined = joiner.attempt(&ADDRESSES).await.unwrap();
    std::fs::remove_file(folder.path().join("token")).unwrap();
    supervisor.set_life(Duration::from_secs(3600));
    let back = joiner.attempt(&ADDRESSES).await.unwrap();
    assert_eq!(supervisor.counts(), (1, 1, 0));
    assert!(back.credentials.not_after > joined.credentials.not_after);
    let key = |c: &sextant_identity::Credentials| c.key.public_key_spki_der();
    assert_eq!(
        key(&back.credentials),
        key(&joined.credentials),
        "the mesh key stays"
    );
}

#[tokio::test]
async fn a_refused_rejoin_falls_back_to_the_token_and_says_so_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _seen) = Supervisor::start().await;
    let joiner = joiner(&supervisor, folder.path());
    let token = folder.path().join("token");
    std::fs::write(&token, supervisor.token()).unwrap();
    supervisor.set_life(Duration::ZERO);
    joiner.attempt(&ADDRESSES).await.unwrap();
    supervisor.refuse(Some("node_unknown"));
    std::fs::remove_file(&token).unwrap();
    let error = refused(&joiner).await;
    assert!(
        error.contains("node_unknown") && error.contains("put a join token into"),
        "{error}"
    );
    assert_eq!(supervisor.counts(), (1, 1, 0));
    std::fs::write(&token, supervisor.token()).unwrap();
    assert!(refused(&joiner).await.contains("node_unknown"));
    assert_eq!(supervisor.counts(), (2, 2, 0));
}

#[tokio::test]
async fn an_absent_supervisor_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (supervisor, _seen) = Supervisor::start().await;
    std::fs::write(folder.path().join("token"), supervisor.token()).unwrap();
    let mut joiner = joiner(&supervisor, folder.path());
    joiner.supervisors = vec!["127.0.0.1:1".into()];
    match joiner.attempt(&ADDRESSES).await {
        Err(error @ Error::Identity(_)) => assert!(error.to_string().contains("127.0.0.1:1")),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it joined"),
    }
    joiner.supervisors.push(supervisor.address);
    joiner.attempt(&ADDRESSES).await.unwrap();
}
