//! The CNI protocol as a chained plugin sees it. Pure.

use serde_json::{Value, json};
use sextant_proto::netpol::EnsurePodRequest;
use std::collections::BTreeMap;

/// Versions of the specification that the plugin speaks.
pub const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.0.1", "1.1.0"];

/// One invocation: environment and standard input.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_ARGS`.
    pub arguments: String,
    /// The network configuration.
    pub input: Vec<u8>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Print this and succeed.
    Answer(Value),
    /// Print nothing and succeed.
    Done,
    /// Ask netpol-controller at this socket; when it agrees, print the answer.
    Ensure {
        /// The controller's socket.
        socket: String,
        /// The pod.
        pod: EnsurePodRequest,
        /// The previous result.
        answer: Value,
    },
}

/// An error in the protocol's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Code: below 100 the specification's, from 100 ours.
    pub code: u32,
    /// What went wrong.
    pub message: String,
}

impl Failure {
    /// The error's JSON.
    pub fn to_json(&self, version: &str) -> Value {
        json!({ "cniVersion": version, "code": self.code, "msg": self.message })
    }
}

impl Call {
    /// The version that the caller speaks.
    pub fn version(&self) -> String {
        let configuration: Value = serde_json::from_slice(&self.input).unwrap_or_default();
        configuration["cniVersion"]
            .as_str()
            .unwrap_or("1.0.0")
            .to_owned()
    }

    /// What the invocation asks for.
    pub fn decide(&self) -> Result<Verdict, Failure> {
        if self.command == "VERSION" {
            return Ok(Verdict::Answer(
                json!({ "cniVersion": self.version(), "supportedVersions": VERSIONS }),
            ));
        }
        let configuration: Value = serde_json::from_slice(&self.input).map_err(|e| Failure {
            code: 6,
            message: format!("the configuration is no JSON: {e}"),
        })?;
        match self.command.as_str() {
            "ADD" => self.add(&configuration),
            // Nothing is kept per pod here: the controller follows the API for that.
            "CHECK" | "DEL" | "GC" | "STATUS" => Ok(Verdict::Done),
            other => Err(Failure {
                code: 4,
                message: format!("CNI_COMMAND `{other}` is not known"),
            }),
        }
    }

    fn add(&self, configuration: &Value) -> Result<Verdict, Failure> {
        let previous = &configuration["prevResult"];
        if !previous.is_object() {
            let message = "must be called as chained plugin: there is no prevResult".to_owned();
            return Err(Failure { code: 7, message });
        }
        let mut answer = previous.clone();
        answer["cniVersion"] = self.version().into();
        let socket = configuration["socket"].as_str().unwrap_or_default();
        let Some(pod) = self.pod(previous) else {
            return Ok(Verdict::Answer(answer));
        };
        if socket.is_empty() {
            return Ok(Verdict::Answer(answer));
        }
        Ok(Verdict::Ensure {
            socket: socket.to_owned(),
            pod,
            answer,
        })
    }

    /// The pod that the container runtime names; other containers have no policy.
    fn pod(&self, previous: &Value) -> Option<EnsurePodRequest> {
        let arguments: BTreeMap<&str, &str> = self
            .arguments
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let ips = previous["ips"].as_array().into_iter().flatten();
        let address = |ip: &Value| Some(ip["address"].as_str()?.split('/').next()?.to_owned());
        Some(EnsurePodRequest {
            namespace: (*arguments.get("K8S_POD_NAMESPACE")?).to_owned(),
            name: (*arguments.get("K8S_POD_NAME")?).to_owned(),
            uid: arguments
                .get("K8S_POD_UID")
                .copied()
                .unwrap_or_default()
                .to_owned(),
            addresses: ips.filter_map(address).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGUMENTS: &str =
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1";

    fn call(command: &str, input: Value) -> Call {
        Call {
            command: command.into(),
            arguments: ARGUMENTS.into(),
            input: input.to_string().into_bytes(),
        }
    }

    fn input(socket: &str) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "sextant", "type": "sextant-policy",
            "socket": socket,
            "prevResult": { "cniVersion": "1.0.0", "ips": [{ "address": "10.244.1.7/24" }], "routes": [] },
        })
    }

    #[test]
    fn add_asks_for_the_pod_and_passes_the_result_on() {
        let Verdict::Ensure {
            socket,
            pod,
            answer,
        } = call("ADD", input("/s")).decide().unwrap()
        else {
            panic!("no question");
        };
        assert_eq!(socket, "/s");
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
            ("default", "web", "u1")
        );
        assert_eq!(pod.addresses, ["10.244.1.7"]);
        assert_eq!(answer, input("/s")["prevResult"]);
    }

    #[test]
    fn without_a_socket_or_a_pod_the_result_is_passed_on() {
        let answer = input("")["prevResult"].clone();
        assert_eq!(
            call("ADD", input("")).decide(),
            Ok(Verdict::Answer(answer.clone()))
        );
        let bare = Call {
            arguments: String::new(),
            ..call("ADD", input("/s"))
        };
        assert_eq!(bare.decide(), Ok(Verdict::Answer(answer)));
    }

    #[test]
    fn answers_version_and_the_rest() {
        let Ok(Verdict::Answer(answer)) =
            call("VERSION", json!({ "cniVersion": "1.1.0" })).decide()
        else {
            panic!("no answer");
        };
        assert_eq!(answer["cniVersion"], "1.1.0");
        assert_eq!(answer["supportedVersions"], json!(VERSIONS));
        for command in ["DEL", "CHECK", "STATUS", "GC"] {
            assert_eq!(
                call(command, input("/s")).decide(),
                Ok(Verdict::Done),
                "{command}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong_in_the_protocols_codes() {
        let broken = Call {
            input: b"{".to_vec(),
            ..call("ADD", Value::Null)
        };
        assert_eq!(broken.decide().unwrap_err().code, 6);
        assert_eq!(call("ADD", json!({})).decide().unwrap_err().code, 7);
        assert_eq!(call("FLY", json!({})).decide().unwrap_err().code, 4);
        let failure = Failure {
            code: 11,
            message: "later".into(),
        };
        assert_eq!(
            failure.to_json("1.0.0"),
            json!({ "cniVersion": "1.0.0", "code": 11, "msg": "later" })
        );
    }
}
