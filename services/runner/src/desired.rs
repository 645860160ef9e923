//! What the supervisor wants the component to be.

use std::{sync::Arc, time::Duration};

use sextant_identity::Channel;
use sextant_kit::{Context, Task, backoff::Backoff};
use sextant_proto::supervisor::{
    ComponentConfig, WatchComponentRequest, components_client::ComponentsClient,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};

use crate::{domain::component::Component, kept::Kept};

/// A stream that lasted this long was well: the next attempt comes soon after it.
const LASTING: Duration = Duration::from_secs(10);

/// The newest configuration; None until there is one.
pub(crate) type Desired = watch::Receiver<Option<Arc<ComponentConfig>>>;

/// Follows `Components.Watch` and keeps what it says. When the supervisor says nothing within `patience`, the
/// configuration kept last for this version of the component is taken, until the supervisor is back.
pub(crate) fn follow(
    (component, version): (Component, JoinHandle<String>),
    channel: Channel,
    kept: Kept<ComponentConfig>,
    patience: Duration,
    ctx: &Context,
) -> Desired {
    let (publish, desired) = watch::channel(None);
    let task = ctx.readiness.task("configuration");
    let follower = Follower {
        component,
        version: String::new(),
        is_withheld: false,
        without: String::new(),
        client: ComponentsClient::new(channel),
        kept,
        publish,
        task,
    };
    ctx.drain.spawn(follower.run(version, patience));
    desired
}

struct Follower {
    component: Component,
    version: String,
    /// The supervisor said that the component mustn't start yet. Then its going away changes nothing.
    is_withheld: bool,
    /// What it can't do without the supervisor, for people; empty until it was tried.
    without: String,
    client: ComponentsClient<Channel>,
    kept: Kept<ComponentConfig>,
    publish: watch::Sender<Option<Arc<ComponentConfig>>>,
    task: Task,
}

impl Follower {
    async fn run(mut self, version: JoinHandle<String>, patience: Duration) {
        // It only fails when the runtime ends.
        self.version = version.await.unwrap_or_default();
        let mut backoff = Backoff::default();
        // Falling back ends the attempt under way; the next one follows at once.
        let waited = timeout(patience, self.follow_until(&mut backoff, Self::has_one)).await;
        if waited.is_err() && !self.is_withheld {
            self.fall_back();
        }
        self.follow_until(&mut backoff, |_| false).await;
    }

    fn has_one(&self) -> bool {
        self.publish.borrow().is_some()
    }

    fn fall_back(&mut self) {
        match self
            .kept
            .load()
            .filter(|kept| kept.component == self.component.name() && kept.version == self.version)
        {
            Some(kept) => {
                let digest = &kept.digest;
                tracing::warn!(
                    digest,
                    "the supervisor is away: taking the last configuration"
                );
                self.take(kept, false);
            }
            None => {
                self.without = format!("; nothing was kept for {:?}", self.version);
                tracing::warn!(reason = self.without, "the supervisor is away");
            }
        }
    }

    /// Follows stream after stream until `enough` of what has come.
    async fn follow_until(&mut self, backoff: &mut Backoff, enough: fn(&Self) -> bool) {
        loop {
            let began = Instant::now();
            let error = match self.follow(enough).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if began.elapsed() >= LASTING {
                backoff.reset();
            }
            if error.code() == Code::FailedPrecondition {
                self.is_withheld = true;
                // It is well and soon has another answer.
                *backoff = withheld();
            }
            let (message, without) = (error.message(), &self.without);
            let reason = format!("Components.Watch at the supervisor: {message}{without}");
            if self.has_one() {
                tracing::info!(reason, "staying with the present configuration");
            } else {
                self.task.waiting(reason);
            }
            sleep(backoff.next()).await;
        }
    }

    async fn follow(&mut self, enough: fn(&Self) -> bool) -> Result<(), Status> {
        let request = WatchComponentRequest {
            replica: replica(),
            version: self.version.clone(),
        };
        let mut stream = self.client.watch(request).await?.into_inner();
        while let Some(config) = stream.message().await? {
            if config.component == self.component.name() {
                self.take(config, true);
            } else {
                let component = config.component;
                tracing::error!(component, "configuration of another component: ignored");
            }
            if enough(self) {
                return Ok(());
            }
        }
        Err(Status::unavailable("the stream ended"))
    }

    fn take(&self, config: ComponentConfig, keep: bool) {
        let config = Arc::new(config);
        let changed = self.publish.send_if_modified(|current| {
            let changed = current.as_deref() != Some(&*config);
            if changed {
                *current = Some(config.clone());
            }
            changed
        });
        self.task.ready();
        if changed && keep {
            self.kept.save(&config);
        }
    }
}

/// Between questions while the component mustn't start yet.
fn withheld() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(1))
}

/// Tells replicas of one component apart: the container's host name.
pub(crate) fn replica() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|_| format!("process-{}", std::process::id()))
}
