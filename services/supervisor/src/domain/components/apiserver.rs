//! kube-apiserver.

use super::{Flags, config_path, file, pki, policies};
use crate::domain::cluster::ClusterConfig;
use sextant_proto::supervisor::ComponentFile;

/// Each replica's own: two must not write one file.
const AUDIT_LOG: &str = "{{STATE_FOLDER}}/audit/audit.log";
const ADVERTISE_ADDRESS: &str = "{{ADVERTISE_ADDRESS}}";

pub(super) fn config(cluster: &ClusterConfig) -> (Flags, Vec<ComponentFile>) {
    let mut flags = Flags::default();
    flags.set_serving("apiserver");
    network(&mut flags, cluster);
    datastore(&mut flags, cluster);
    authentication(&mut flags, cluster);
    kubelets(&mut flags);
    flags
        .set("allow-privileged", "true")
        .set("authorization-config", config_path("authorization.yaml"))
        .set("enable-admission-plugins", "NodeRestriction")
        .set(
            "admission-control-config-file",
            config_path("admission.yaml"),
        )
        .set("encryption-provider-config", config_path("encryption.yaml"))
        .set("encryption-provider-config-automatic-reload", "true")
        // A stop goes on serving until `edge` has noticed. Then it answers what is under way, waits for no watcher, and
        // everybody else is told by GOAWAY to take another connection: with `shutdown-send-retry-after` they would be
        // told to come back 5 s later. The price: a stop waits for who follows a log, until the runner's grace is over.
        .set("shutdown-delay-duration", "2s")
        .set("shutdown-watch-termination-grace-period", "1s");
    let mut files = vec![
        file("admission.yaml", &policies::admission(cluster), false),
        file("authorization.yaml", &policies::authorization(), true),
        file("egress.yaml", &policies::egress(), false),
        file("encryption.yaml", &policies::encryption(), true),
    ];
    if cluster.audit.enabled {
        files.push(file("audit.yaml", &policies::audit(cluster), false));
        audit(&mut flags, cluster);
    }
    (flags, files)
}

fn network(flags: &mut Flags, cluster: &ClusterConfig) {
    flags
        .set("advertise-address", ADVERTISE_ADDRESS)
        .set("secure-port", cluster.api.port.to_string())
        .set(
            "service-cluster-ip-range",
            cluster.networks.service_cidr.to_string(),
        )
        // The supervisor owns the endpoints of default/kubernetes: one address that every node offers.
        .set("endpoint-reconciler-type", "none")
        .set("egress-selector-config-file", config_path("egress.yaml"));
}

fn datastore(flags: &mut Flags, cluster: &ClusterConfig) {
    flags
        .set("etcd-servers", &cluster.datastore)
        .set("etcd-cafile", pki("datastore-ca.pem"))
        .set("etcd-certfile", pki("datastore.crt"))
        .set("etcd-keyfile", pki("datastore.key"));
}

fn authentication(flags: &mut Flags, cluster: &ClusterConfig) {
    let issuer = cluster.service_account_issuer();
    flags
        .set("anonymous-auth", "false")
        .set("client-ca-file", pki("cluster-client-ca.pem"))
        .set("requestheader-client-ca-file", pki("request-header-ca.pem"))
        .set("requestheader-allowed-names", "front-proxy-client")
        .set("requestheader-username-headers", "X-Remote-User")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-uid-headers", "X-Remote-Uid")
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .set("proxy-client-cert-file", pki("request-header-client.crt"))
        .set("proxy-client-key-file", pki("request-header-client.key"))
        .set("service-account-signing-endpoint", "/run/sextant/jwt.sock")
        .set(
            "service-account-jwks-uri",
            format!("{issuer}/openid/v1/jwks"),
        )
        .set("service-account-extend-token-expiration", "false")
        .set("api-audiences", &issuer)
        .set("service-account-issuer", issuer);
}

fn kubelets(flags: &mut Flags) {
    flags
        .set(
            "kubelet-certificate-authority",
            pki("cluster-server-ca.pem"),
        )
        .set("kubelet-client-certificate", pki("kubelet-client.crt"))
        .set("kubelet-client-key", pki("kubelet-client.key"))
        // The tunnel routes by certified node name, never by an address that a node claims.
        .set("kubelet-preferred-address-types", "Hostname");
}

fn audit(flags: &mut Flags, cluster: &ClusterConfig) {
    flags
        .set("audit-policy-file", config_path("audit.yaml"))
        .set("audit-log-path", AUDIT_LOG)
        .set("audit-log-mode", "batch")
        .set("audit-log-maxsize", cluster.audit.max_size_mib.to_string())
        .set("audit-log-maxbackup", cluster.audit.max_backups.to_string())
        .set("audit-log-maxage", cluster.audit.max_age_days.to_string());
}
