//! `sextant kubeconfig`
use crate::app::SERVER;
use crate::args::Global;
use crate::enrol::Hosted;
use crate::output::View;
use crate::pair::Pair;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sextant_proto::supervisor::KubeAccessResponse;
use std::path::{Path, PathBuf, absolute};
use time::OffsetDateTime;

/// How the kubeconfig's user proves itself.
#[derive(Debug)]
pub enum User {
    /// kubectl calls this program.
    Exec {
        /// Absolute path of this program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A certificate and key in the file.
    Static(Pair),
}

impl User {
    /// The program at `program`, asked to use the same cluster and state as this run; `hosted` is pinned.
    #[must_use]
    pub fn exec(program: &Path, global: &Global, hosted: Option<&Hosted>) -> Self {
        let mut arguments = vec!["credential".to_owned()];
        let mut text = |flag: &str, value: &str| {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        };
        match (&global.server, hosted) {
            (Some(server), _) => text("--server", server),
            // Its address may change, and the hosting cluster knows it.
            (None, Some(_)) => {}
            (None, None) => text("--server", SERVER),
        }
        if let Some(hosted) = hosted {
            text("--hosted", &hosted.place.to_string());
        }
        if let Some(context) = hosted.and_then(|hosted| hosted.context.as_ref()) {
            text("--kube-context", context);
        }
        // kubectl may run anywhere, so that paths have to be absolute.
        let mut file = |flag: &str, path: &PathBuf| {
            let path = absolute(path).unwrap_or_else(|_| path.clone());
            arguments.extend([flag.to_owned(), path.display().to_string()]);
        };
        if let Some(path) = &global.state_dir {
            file("--state-dir", path);
        }
        if let Some(path) = &global.enrol_dir {
            file("--enrol-dir", path);
        }
        if let Some(path) = hosted.and_then(|hosted| hosted.kubeconfig.as_ref()) {
            file("--kubeconfig", path);
        }
        arguments.extend(["--context".to_owned(), global.context()]);
        arguments.extend(["--project".to_owned(), global.project.clone()]);
        Self::Exec {
            program: program.to_owned(),
            arguments,
        }
    }
}

/// A kubeconfig (kind `Config`, `v1`) of one cluster and one user.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct KubeconfigView {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    current_context: String,
    users: Vec<NamedUser>,
}

#[derive(Debug, Serialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: String,
    server: String,
}

#[derive(Debug, Serialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Serialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Serialize)]
struct NamedUser {
    name: String,
    user: Credentials,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Credentials {
    Exec { exec: Exec },
    Static(Inline),
}

/// Base64 of PEM, as kubeconfigs hold it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Inline {
    client_certificate_data: String,
    client_key_data: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Exec {
    api_version: &'static str,
    command: String,
    args: Vec<String>,
    interactive_mode: &'static str,
    provide_cluster_info: bool,
    install_hint: String,
}

impl KubeconfigView {
    /// For the cluster that `access` describes.
    #[must_use]
    pub fn new(access: KubeAccessResponse, api_server: Option<String>, user: User) -> Self {
        let name = access.cluster_name;
        let user_name = format!("{name}-admin");
        Self {
            api_version: "v1",
            kind: "Config",
            clusters: vec![NamedCluster {
                name: name.clone(),
                cluster: Cluster {
                    certificate_authority_data: BASE64_STANDARD
                        .encode(access.certificate_authority_pem),
                    server: api_server.unwrap_or(access.server),
                },
            }],
            contexts: vec![NamedContext {
                name: name.clone(),
                context: Context {
                    cluster: name.clone(),
                    user: user_name.clone(),
                },
            }],
            current_context: name,
            users: vec![NamedUser {
                name: user_name,
                user: user.into(),
            }],
        }
    }
}

impl From<User> for Credentials {
    fn from(user: User) -> Self {
        match user {
            User::Static(pair) => Self::Static(Inline {
                client_certificate_data: BASE64_STANDARD.encode(pair.certificate),
                client_key_data: BASE64_STANDARD.encode(pair.private_key),
            }),
            User::Exec { program, arguments } => {
                let command = program.display().to_string();
                let install_hint = format!(
                    "This kubeconfig asks the Sextant command line for a certificate and expects \
                     it at {command}. If it is elsewhere, write the file anew: sextant kubeconfig"
                );
                Self::Exec {
                    exec: Exec {
                        api_version: super::credential::API_VERSION,
                        command,
                        args: arguments,
                        interactive_mode: "Never",
                        provide_cluster_info: false,
                        install_hint,
                    },
                }
            }
        }
    }
}

impl std::fmt::Debug for Inline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inline").finish_non_exhaustive()
    }
}

impl View for KubeconfigView {
    /// A kubeconfig is YAML for people too.
    fn table(&self, _: OffsetDateTime) -> String {
        serde_norway::to_string(self).unwrap_or_default()
    }
}
