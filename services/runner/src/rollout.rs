//! Starts the component and moves it from configuration to configuration.

use std::{sync::Arc, time::Duration};

use sextant_identity::Channel;
use sextant_kit::{Drain, Task, backoff::Backoff};
use sextant_proto::supervisor::{
    ComponentConfig, RestartPermit, RestartPermitRequest, components_client::ComponentsClient,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Status, Streaming};

use crate::{
    address::{fill_in, own_address},
    child::{Child, Spec},
    config::Config,
    desired::{Desired, replica},
    domain::{
        change::{Change, change, reloading},
        component::{Component, secure_port},
        kubeconfig::api_server,
    },
    error::Error,
    files,
    health::Health,
    kept::write_file,
    memory,
    probe::Probe,
    relay::{self, Relay},
};

/// How long a restarted component may take to be ready before the next replica gets its turn.
const READY: Duration = Duration::from_secs(300);

/// Moves one component.
pub(crate) struct Rollout {
    pub(crate) config: Config,
    pub(crate) desired: Desired,
    pub(crate) supervisor: ComponentsClient<Channel>,
    pub(crate) task: Task,
    pub(crate) tracing: Option<Tracing>,
}

/// What makes the component tell what it does.
pub(crate) struct Tracing(String);

impl Tracing {
    /// Offers a receiver and writes the file that leads to it.
    pub(crate) fn offer(relay: &Relay, config: &Config, drain: &Drain) -> Result<Self, Error> {
        let socket = config.run_folder.join("otlp.sock");
        relay.listen(&socket, drain)?;
        let mut content = relay::tracing(&socket);
        content["apiVersion"] = "apiserver.config.k8s.io/v1".into();
        content["kind"] = "TracingConfiguration".into();
        let file = config.run_folder.join("tracing.json");
        write_file(&file, content.to_string().as_bytes(), 0o600)?;
        Ok(Self(format!("--tracing-config-file={}", file.display())))
    }
}

impl Rollout {
    /// Runs the component until the drain, then stops it.
    pub(crate) async fn run(mut self, health: Health, drain: Drain) -> Result<(), Error> {
        let Some(first) = drain.run(self.next(None)).await else {
            return Ok(());
        };
        let Some(spec) = drain.run(self.spec(&first)).await else {
            return Ok(());
        };
        files::replace(&self.config.files_folder(), &first.files)?;
        if drain.run(self.api(&first, &health.probe)).await.is_none() {
            return Ok(());
        }
        self.task.ready();
        let port = watch::Sender::new(self.port(&first));
        let child = Arc::new(Child::supervise(spec));
        let ready = health.watch(&child, port.subscribe(), &drain);
        drain.run(self.follow(first, &child, ready, &port)).await;
        child.stop().await;
        Ok(())
    }

    /// Waits until kube-apiserver is ready, where the component is its client. Started earlier, it would fail its first
    /// requests, and then its own back-off would keep it from noticing the API for seconds.
    async fn api(&self, first: &ComponentConfig, probe: &Probe) {
        let Some(server) = api_server(&first.files) else {
            return;
        };
        let ready = Component::KubeApiserver.ready_path();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
        while let Err(reason) = probe.ask_at(&server, ready).await {
            self.task.waiting(format!("kube-apiserver: {reason}"));
            sleep(backoff.next()).await;
        }
    }

    /// The newest configuration that isn't `present`.
    async fn next(&mut self, present: Option<&Arc<ComponentConfig>>) -> Arc<ComponentConfig> {
        let other = |newest: &Option<Arc<ComponentConfig>>| {
            newest
                .as_ref()
                .is_some_and(|newest| Some(newest) != present)
        };
        match self
            .desired
            .wait_for(other)
            .await
            .map(|found| found.clone())
        {
            Ok(Some(found)) => found,
            // Nobody will say anything new: the drain has begun.
            _ => std::future::pending().await,
        }
    }

    async fn follow(
        &mut self,
        mut running: Arc<ComponentConfig>,
        child: &Child,
        mut ready: watch::Receiver<Option<u32>>,
        port: &watch::Sender<u16>,
    ) {
        let mut seen = running.clone();
        loop {
            let wanted = self.next(Some(&seen)).await;
            seen = wanted.clone();
            let step = change(&running, &wanted);
            tracing::info!(digest = wanted.digest, ?step, "new configuration");
            let moved = match step {
                Change::Nothing => Ok(true),
                Change::Reload => {
                    files::replace(&self.config.files_folder(), &wanted.files).map(|()| true)
                }
                Change::Restart => self.restart(&wanted, child, &mut ready, port).await,
            };
            match moved {
                Ok(true) => running = wanted,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "staying with the present configuration"),
            }
        }
    }

    /// False when a newer configuration came before it was this replica's turn.
    async fn restart(
        &mut self,
        wanted: &Arc<ComponentConfig>,
        child: &Child,
        ready: &mut watch::Receiver<Option<u32>>,
        port: &watch::Sender<u16>,
    ) -> Result<bool, Error> {
        // These may be urgent, like the denial of a revoked credential: they don't wait for a turn.
        files::write(&self.config.files_folder(), reloading(wanted))?;
        let mut newer = self.desired.clone();
        // A component that doesn't run takes nothing away from the cluster when it starts differently.
        let permit = if child.status().borrow().pid().is_some() {
            tokio::select! {
                permit = self.permit(&wanted.digest) => Some(permit),
                Ok(_) = newer.wait_for(|newest| newest.as_ref() != Some(wanted)) => return Ok(false),
            }
        } else {
            None
        };
        let spec = self.spec(wanted).await;
        files::replace(&self.config.files_folder(), &wanted.files)?;
        port.send_replace(self.port(wanted));
        child.replace(spec).await;
        let status = child.status();
        let again = ready.wait_for(|ready| ready.is_some() && *ready == status.borrow().pid());
        tokio::select! {
            waited = timeout(READY, again) => if waited.is_err() {
                tracing::error!(limit = ?READY, "not ready after a restart: giving the turn back");
            },
            // A newer configuration may be what makes it ready.
            _ = newer.wait_for(|newest| newest.as_ref() != Some(wanted)) => {}
        }
        drop(permit);
        Ok(true)
    }

    /// Waits for this replica's turn. The turn lasts as long as the stream is held.
    async fn permit(&self, digest: &str) -> Streaming<RestartPermit> {
        let mut backoff = Backoff::default();
        loop {
            match self.ask_permit(digest).await {
                Ok(permit) => return permit,
                Err(status) => {
                    let reason = status.message();
                    tracing::warn!(reason, "no restart permit from the supervisor yet");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn ask_permit(&self, digest: &str) -> Result<Streaming<RestartPermit>, Status> {
        let request = RestartPermitRequest {
            replica: replica(),
            digest: digest.to_owned(),
        };
        let mut permits = self
            .supervisor
            .clone()
            .restart_permit(request)
            .await?
            .into_inner();
        while let Some(permit) = permits.message().await? {
            if permit.granted {
                return Ok(permits);
            }
            tracing::info!(
                waiting_for = permit.waiting_for,
                "waiting for the turn to restart"
            );
        }
        Err(Status::unavailable("the stream ended"))
    }

    /// Waits until the own address is known, where the flags need it.
    async fn spec(&self, wanted: &ComponentConfig) -> Spec {
        let config = &self.config;
        let targets = [
            &config.supervisor,
            &config.token_service,
            &config.enroll.cert_authority,
        ]
        .map(String::as_str);
        let mut backoff = Backoff::default();
        let mut arguments = loop {
            let own = match config.advertise_address {
                Some(address) => Some(address),
                None => own_address(&targets).await,
            };
            if let Some(arguments) = fill_in(&wanted.arguments, own, &config.state_folder) {
                break arguments;
            }
            self.task
                .waiting("own address: no route to the supervisor and no interface but loopback");
            sleep(backoff.next()).await;
        };
        arguments.extend(self.tracing.as_ref().map(|tracing| tracing.0.clone()));
        let spec = Spec::new(config.component.name(), config.program())
            .arguments(arguments)
            .grace(Duration::from_secs(config.grace_seconds));
        memory::environment(config.gogc)
            .into_iter()
            .fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    fn port(&self, config: &ComponentConfig) -> u16 {
        secure_port(&config.arguments).unwrap_or(self.config.component.port())
    }
}
