//! `sextant credential`: the credential plugin of client-go.
use crate::Error;
use crate::output::Timestamp;
use crate::pair::Pair;
use serde::Serialize;

/// The version of the plugin protocol (k8s.io/client-go/pkg/apis/clientauthentication/v1).
pub const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// File in the state folder: the last [`Pair`] for kube-apiserver.
pub const FILE: &str = "kube.json";

/// File that one process at a time locks to renew [`FILE`].
pub const LOCK: &str = "kube.lock";

/// A client asks again this long before its certificate ends.
const MARGIN_SECONDS: i64 = 60;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    api_version: &'static str,
    kind: &'static str,
    status: Status<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    expiration_timestamp: Option<Timestamp>,
    client_certificate_data: &'a str,
    client_key_data: &'a str,
}

/// The answer to kubectl. It is JSON whatever `--output` says.
///
/// # Errors
/// Never in practice; the serializer may fail in principle.
pub fn exec_credential(pair: &Pair) -> Result<String, Error> {
    let answer = ExecCredential {
        api_version: API_VERSION,
        kind: "ExecCredential",
        status: Status {
            expiration_timestamp: Timestamp::from_unix(pair.not_after() - MARGIN_SECONDS),
            client_certificate_data: &pair.certificate,
            client_key_data: &pair.private_key,
        },
    };
    let mut text = serde_json::to_string(&answer).map_err(Error::output)?;
    text.push('\n');
    Ok(text)
}
