//! Objects that have to fit each other.

use crate::chart::{Pod, Rendered, folder, items, shown, text};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;
use supervisor::domain::cluster::KUBERNETES_VERSION;

/// helm keeps what it renders in Secrets of the release, for ever: no secret may be among it.
pub fn nothing_secret_is_rendered(helm: &Path) -> Result<()> {
    let again = Rendered::all(helm)?;
    for rendered in Rendered::all(helm)? {
        ensure!(
            rendered.of_kind("Secret").next().is_none(),
            "a Secret with {}",
            rendered.values
        );
        for map in rendered.of_kind("ConfigMap") {
            let keys: Vec<&String> = map["data"].as_object().context("data")?.keys().collect();
            ensure!(
                keys == [
                    "apiserver",
                    "audience",
                    "datastore",
                    "domain",
                    "kubernetes",
                    "podCidr",
                    "serviceCidr",
                    "supervisor"
                ],
                "{}: {keys:?}",
                shown(map)
            );
        }
        for word in ["PRIVATE KEY", "BEGIN CERTIFICATE", "stringData"] {
            ensure!(
                !rendered.text.contains(word),
                "{word} with {}",
                rendered.values
            );
        }
        // Something random, such as a made password, would differ.
        let same = again.iter().any(|other| other.text == rendered.text);
        ensure!(same, "it isn't the same twice with {}", rendered.values);
    }
    Ok(())
}

pub fn services_and_monitors_find_their_pods(helm: &Path) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        let pods: Vec<Pod> = rendered
            .pods()
            .into_iter()
            .filter(|pod| pod.part != "test")
            .collect();
        for service in rendered.of_kind("Service") {
            ensure!(
                text(&service["metadata"]["name"]).len() <= 63,
                "{}",
                shown(service)
            );
            let selected = selected(&pods, &service["spec"]["selector"]);
            ensure!(
                selected.len() == 1,
                "{} selects {}",
                shown(service),
                selected.len()
            );
            for port in items(&service["spec"]["ports"]) {
                let name = text(&port["targetPort"]);
                let ports = selected[0].ports();
                ensure!(
                    ports.iter().any(|(one, _)| *one == name),
                    "{}: {port}",
                    shown(service)
                );
            }
        }
        for budget in rendered.of_kind("PodDisruptionBudget") {
            let selected = selected(&pods, &budget["spec"]["selector"]["matchLabels"]);
            ensure!(
                selected.len() == 1,
                "{} selects {}",
                shown(budget),
                selected.len()
            );
        }
        for scaler in rendered.of_kind("HorizontalPodAutoscaler") {
            let target = &scaler["spec"]["scaleTargetRef"];
            let kind = text(&target["kind"]);
            let owner = rendered
                .of_kind(&kind)
                .find(|one| one["metadata"]["name"] == target["name"]);
            let owner = owner.with_context(|| format!("{} scales nothing", shown(scaler)))?;
            ensure!(
                owner["spec"]["replicas"].is_null(),
                "{} has a number of its own",
                shown(owner)
            );
        }
        monitors(&rendered, &pods)?;
    }
    Ok(())
}

/// By the host names of both endpoints, to Services and ports that there are; kube-apiserver's certificate has its name.
pub fn routes_lead_to_services(helm: &Path) -> Result<()> {
    let rendered = Rendered::named(helm, "routes")?;
    let mut led = Vec::new();
    for route in rendered.of_kind("TLSRoute") {
        let backend = &route["spec"]["rules"][0]["backendRefs"][0];
        let hosts = &route["spec"]["hostnames"];
        ensure!(
            hosts.as_array().is_some_and(|all| all.len() == 1),
            "{route}"
        );
        led.push((
            text(&hosts[0]),
            text(&backend["name"]),
            backend["port"].clone(),
        ));
    }
    for ingress in rendered.of_kind("Ingress") {
        for rule in items(&ingress["spec"]["rules"]) {
            let service = &rule["http"]["paths"][0]["backend"]["service"];
            let port = service["port"]["number"].clone();
            led.push((text(&rule["host"]), text(&service["name"]), port));
        }
    }
    led.sort_by_key(|(host, ..)| host.clone());
    let api = ("api.example.org", "demo-sextant-kube-apiserver");
    let join = ("join.example.org", "demo-sextant-supervisor-public");
    let led: Vec<_> = led
        .iter()
        .map(|(host, service, port)| ((host.as_str(), service.as_str()), port))
        .collect();
    let hosts: Vec<_> = led.iter().map(|(route, _)| *route).collect();
    ensure!(hosts == [api, api, join, join], "{hosts:?}");
    for ((_, name), port) in led {
        let service = rendered
            .of_kind("Service")
            .find(|one| one["metadata"]["name"] == name);
        let service = service.with_context(|| format!("no Service {name}"))?;
        let ports = items(&service["spec"]["ports"]);
        ensure!(ports.iter().any(|one| one["port"] == *port), "{service}");
    }
    let pods = rendered.pods();
    let authority = pods.iter().find(|pod| pod.part == "cert-authority");
    let environment = authority.context("no cert-authority")?.environment();
    let names = environment
        .iter()
        .find(|(name, _)| name == "SEXTANT_APISERVER__NAMES");
    let names = &names.context("no names of kube-apiserver")?.1;
    ensure!(names.contains("\"api.example.org\""), "{names}");
    Ok(())
}

fn monitors(rendered: &Rendered, pods: &[Pod]) -> Result<()> {
    for monitor in rendered.of_kind("PodMonitor") {
        let selected = selected(pods, &monitor["spec"]["selector"]["matchLabels"]);
        ensure!(
            selected.len() == 7,
            "{} selects {}",
            shown(monitor),
            selected.len()
        );
        ensure!(
            monitor["spec"]["podMetricsEndpoints"][0]["port"] == "admin",
            "{monitor}"
        );
    }
    for monitor in rendered.of_kind("ServiceMonitor") {
        let labels = &monitor["spec"]["selector"]["matchLabels"];
        let services = rendered.of_kind("Service");
        let services: Vec<&Value> = services
            .filter(|one| has(&one["metadata"]["labels"], labels))
            .collect();
        ensure!(
            services.len() == 7,
            "{} selects {}",
            shown(monitor),
            services.len()
        );
        for service in services {
            ensure!(
                service["spec"]["ports"][0]["name"] == "admin",
                "{}",
                shown(service)
            );
        }
    }
    Ok(())
}

fn selected<'a>(pods: &'a [Pod], labels: &Value) -> Vec<&'a Pod> {
    let all = pods.iter();
    all.filter(|pod| has(&Value::Object(pod.labels.clone()), labels))
        .collect()
}

fn has(labels: &Value, wanted: &Value) -> bool {
    let none = Map::new();
    let wanted = wanted.as_object().unwrap_or(&none);
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

pub fn data_is_kept_unless_told_otherwise(helm: &Path) -> Result<()> {
    for rendered in Rendered::all(helm)? {
        let claims: Vec<&Value> = rendered.of_kind("PersistentVolumeClaim").collect();
        let wanted: &[&str] = match rendered.values.as_str() {
            "postgres" | "mysql" | "etcd" => &[],
            "volume" => &["cert-authority"],
            _ => &["datastore-proxy"],
        };
        let found: Vec<String> = claims
            .iter()
            .map(|one| text(&one["metadata"]["labels"]["app.kubernetes.io/component"]))
            .collect();
        ensure!(found == wanted, "with {}: {found:?}", rendered.values);
        let keep = match rendered.values.as_str() {
            "load-balancer" => json!(null),
            _ => json!("keep"),
        };
        let own = rendered.of_kind("StatefulSet");
        let own = own.filter(|owner| !owner["spec"]["volumeClaimTemplates"].is_null());
        for owner in own {
            let deleted = &owner["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"];
            let wanted = if keep.is_null() { "Delete" } else { "Retain" };
            ensure!(*deleted == wanted, "{}: {deleted}", shown(owner));
        }
        for claim in claims {
            let policy = &claim["metadata"]["annotations"]["helm.sh/resource-policy"];
            ensure!(*policy == keep, "with {}: {policy}", rendered.values);
        }
    }
    Ok(())
}

/// The versions that Chart.yaml repeats.
pub fn versions_are_those_of_the_images(_: &Path) -> Result<()> {
    let file = folder().join("Chart.yaml");
    let chart: Value = serde_norway::from_str(&std::fs::read_to_string(file)?)?;
    let kubernetes = &chart["annotations"]["sextant.dev/kubernetes"];
    ensure!(*kubernetes == KUBERNETES_VERSION, "{kubernetes}");
    ensure!(chart["appVersion"] == env!("CARGO_PKG_VERSION"), "{chart}");
    Ok(())
}
