//! Golden tests: the whole configuration of each component, as an operator would read it.

use super::*;

fn arguments(component: Component) -> Vec<String> {
    component_config(&ClusterConfig::default(), component).arguments
}

fn golden(component: Component) -> String {
    let config = component_config(&ClusterConfig::default(), component);
    let mut text = config.arguments.join("\n");
    text.push('\n');
    for file in &config.files {
        let _ = write!(text, "\n# {} reloads={}\n", file.path, file.reloads);
        text.push_str(std::str::from_utf8(&file.content).unwrap());
    }
    text
}

fn check(component: Component, want: &str) {
    let got = golden(component);
    let path = format!(
        "{}/src/domain/components/golden/{}.txt",
        env!("CARGO_MANIFEST_DIR"),
        component.name()
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &got).unwrap();
        return;
    }
    assert_eq!(
        got, want,
        "set UPDATE_GOLDEN=1 to write {path} anew, then review the change"
    );
}

#[test]
fn kube_apiserver() {
    check(
        Component::ApiServer,
        include_str!("golden/kube-apiserver.txt"),
    );
}

#[test]
fn kube_controller_manager() {
    check(
        Component::ControllerManager,
        include_str!("golden/kube-controller-manager.txt"),
    );
}

#[test]
fn kube_scheduler() {
    check(
        Component::Scheduler,
        include_str!("golden/kube-scheduler.txt"),
    );
}

#[test]
fn no_component_gets_a_signing_key() {
    for component in Component::ALL {
        for argument in arguments(component) {
            for flag in [
                "--service-account-key-file",
                "--service-account-signing-key",
                "--cluster-signing",
                "--service-account-private",
            ] {
                assert!(!argument.starts_with(flag), "{argument}");
            }
        }
    }
}

#[test]
fn extra_arguments_override_and_change_the_digest() {
    let mut cluster = ClusterConfig::default();
    let before = component_config(&cluster, Component::ApiServer);
    cluster
        .extra_args
        .kube_apiserver
        .insert("event-ttl".into(), "2h".into());
    cluster
        .extra_args
        .kube_apiserver
        .insert("--anonymous-auth".into(), "true".into());
    let after = component_config(&cluster, Component::ApiServer);
    assert!(after.arguments.contains(&"--event-ttl=2h".to_owned()));
    assert!(
        after
            .arguments
            .contains(&"--anonymous-auth=true".to_owned())
    );
    assert!(
        !after
            .arguments
            .contains(&"--anonymous-auth=false".to_owned())
    );
    assert_ne!(before.digest, after.digest);
    assert_eq!(
        before.digest,
        component_config(&ClusterConfig::default(), Component::ApiServer).digest
    );
}

#[test]
fn the_digest_separates_arguments_from_each_other() {
    let joined = digest(&["--a=b--c=d".into()], &[]);
    let split = digest(&["--a=b".into(), "--c=d".into()], &[]);
    assert_ne!(joined, split);
}

#[test]
fn a_leaders_duty_moves_within_five_seconds() {
    let millis = |text: &str| -> f64 {
        match text.strip_suffix("ms") {
            Some(millis) => millis.parse().unwrap(),
            None => 1000.0 * text.strip_suffix('s').unwrap().parse::<f64>().unwrap(),
        }
    };
    let worst = |leader_lease_seconds| {
        let election = Election::of(&ClusterConfig {
            leader_lease_seconds,
            ..ClusterConfig::default()
        });
        let lease = millis(&election.lease);
        let (deadline, retry) = (millis(&election.deadline), millis(&election.retry));
        // What client-go asks of its settings, whose jitter is 1.2.
        assert!(lease > deadline && deadline > 1.2 * retry && lease % 1000.0 == 0.0);
        lease + 2.0 * 2.2 * retry
    };
    assert!(worst(ClusterConfig::default().leader_lease_seconds) <= 5000.0);
    for lease in 1..=60 {
        worst(lease);
    }
}
