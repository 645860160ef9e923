//! The smallest service: it waits for a file, then works until it is drained. The tests of the shell run it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sextant_kit::backoff::{Backoff, retry};
use sextant_kit::config::{Common, HasCommon};
use sextant_kit::{Context, Service};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

struct Waiting;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    common: Common,
    /// The file to wait for.
    file: PathBuf,
    /// Whether it serves on, degraded, once the file was there.
    degraded: bool,
    /// How long open work holds the drain, in milliseconds.
    linger_ms: u64,
    /// Whether it never says that it has started.
    stuck: bool,
    /// Something that nobody should see.
    #[schemars(extend("writeOnly" = true))]
    secret: String,
}

impl HasCommon for Config {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl Service for Waiting {
    const NAME: &'static str = "waiting";
    type Config = Config;

    async fn run(config: Config, ctx: Context) -> anyhow::Result<()> {
        let task = ctx.readiness.task("file");
        if !config.stuck {
            ctx.readiness.started();
        }
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        let path = config.file.display().to_string();
        let found = retry(&path, &task, backoff, &ctx.drain, || {
            tokio::fs::read(&config.file)
        });
        if found.await.is_some() {
            match config.degraded {
                true => task.degraded("the file was taken away"),
                false => task.ready(),
            }
        }
        let guard = ctx.drain.guard();
        let linger = Duration::from_millis(config.linger_ms);
        let drain = ctx.drain.clone();
        tokio::spawn(async move {
            drain.signaled().await;
            tokio::time::sleep(linger).await;
            drop(guard);
        });
        ctx.drain.signaled().await;
        Ok(())
    }
}

fn main() -> ExitCode {
    sextant_kit::main::<Waiting>()
}
