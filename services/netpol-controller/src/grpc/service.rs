//! EnsurePod and Explain.

use crate::domain::explain::Question;
use crate::domain::model::Key;
use crate::enforce::{Command, Ensure};
use sextant_proto::netpol::network_policy_server::NetworkPolicy;
use sextant_proto::netpol::{EnsurePodRequest, EnsurePodResponse, ExplainRequest, ExplainResponse};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

/// A pod has one address per family; a plugin chain may add some.
const MOST_ADDRESSES: usize = 16;

/// Answers by asking the enforcing task.
pub struct Service {
    /// Where it is asked.
    pub commands: mpsc::Sender<Command>,
    /// How long a pod may wait.
    pub patience: Duration,
}

impl Service {
    /// Sends a command and waits for its answer.
    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<T>,
        late: impl FnOnce() -> String,
    ) -> Result<T, Status> {
        let exchange = async {
            self.commands.send(command).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Status::unavailable(
                "netpol-controller is stopping; try again",
            )),
            Err(_) => Err(Status::unavailable(late())),
        }
    }
}

#[tonic::async_trait]
impl NetworkPolicy for Service {
    async fn ensure_pod(
        &self,
        request: Request<EnsurePodRequest>,
    ) -> Result<Response<EnsurePodResponse>, Status> {
        let request = request.into_inner();
        if request.addresses.len() > MOST_ADDRESSES {
            return Err(Status::invalid_argument(format!(
                "more than {MOST_ADDRESSES} addresses"
            )));
        }
        let addresses = request
            .addresses
            .iter()
            .map(|text| address(text))
            .collect::<Result<_, _>>()?;
        let pod = Key::new(&request.namespace, &request.name);
        let seconds = self.patience.as_secs();
        let late = format!(
            "the policy of pod {pod} (uid {}) is not in the kernel after {seconds} s: the Kubernetes API hasn't \
             shown the pod, or not all policies yet, or the kernel refuses the table; the admin port's /readyz \
             says which",
            request.uid,
        );
        let (done, answer) = oneshot::channel();
        let ensure = Ensure {
            pod,
            uid: request.uid,
            addresses,
            done,
        };
        let policies = self.ask(Command::Ensure(ensure), answer, || late).await?;
        let policies = u32::try_from(policies).unwrap_or(u32::MAX);
        Ok(Response::new(EnsurePodResponse { policies }))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let request = request.into_inner();
        let question = Question {
            source: address(&request.source)?,
            destination: address(&request.destination)?,
            protocol: request.protocol.parse().map_err(Status::invalid_argument)?,
            port: u16::try_from(request.port)
                .map_err(|_| Status::invalid_argument(format!("{} is no port", request.port)))?,
        };
        if question.source.is_ipv4() != question.destination.is_ipv4() {
            return Err(Status::invalid_argument(
                "source and destination are of different families",
            ));
        }
        let (done, answer) = oneshot::channel();
        let late =
            || "no answer: netpol-controller is busy with a large change; try again".to_owned();
        let answer = self
            .ask(Command::Explain(question, done), answer, late)
            .await?;
        Ok(Response::new(ExplainResponse {
            allowed: answer.allowed,
            reasons: answer.reasons,
        }))
    }
}

fn address(text: &str) -> Result<IpAddr, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("`{text}` is no IP address")))
}
