//! The kubeconfig among a component's files.

use serde_json::Value;
use sextant_proto::supervisor::ComponentFile;

/// Name of the file, beside the component's other ones.
const FILE: &str = "kubeconfig.yaml";

/// A server of HTTPS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Server {
    /// The name that its certificate must have.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) address: String,
}

/// The kube-apiserver that the component is a client of; None for kube-apiserver itself.
pub(crate) fn api_server(files: &[ComponentFile]) -> Option<Server> {
    let file = files.iter().find(|file| file.path == FILE)?;
    // The supervisor writes JSON, which is YAML as well.
    let kubeconfig: Value = serde_json::from_slice(&file.content).ok()?;
    let url = kubeconfig["clusters"][0]["cluster"]["server"].as_str()?;
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?;
    Some(Server {
        name: host.trim_matches(['[', ']']).to_owned(),
        address: format!("{host}:{}", uri.port_u16().unwrap_or(443)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(content: &'static str) -> [ComponentFile; 1] {
        [ComponentFile {
            path: FILE.to_owned(),
            content: content.into(),
            reloads: false,
        }]
    }

    #[test]
    fn names_the_server_of_the_first_cluster() {
        let found = api_server(&files(
            r#"{"clusters":[{"cluster":{"server":"https://api:6443"}}]}"#,
        ));
        let wanted = Server {
            name: "api".to_owned(),
            address: "api:6443".to_owned(),
        };
        assert_eq!(found, Some(wanted));
        let found = api_server(&files(
            r#"{"clusters":[{"cluster":{"server":"https://[::1]"}}]}"#,
        ));
        let wanted = Server {
            name: "::1".to_owned(),
            address: "[::1]:443".to_owned(),
        };
        assert_eq!(found, Some(wanted));
    }

    #[test]
    fn a_component_without_one_waits_for_nobody() {
        assert_eq!(api_server(&[]), None);
        assert_eq!(api_server(&files("{}")), None);
        assert_eq!(api_server(&files("no JSON")), None);
    }
}
