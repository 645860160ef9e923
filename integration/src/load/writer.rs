//! A client that creates objects, reads, lists and changes them, and deletes them.

use super::Shape;
use super::history::{History, Kind};
use super::server::Server;
use super::tally::Tally;
use super::transport::Transport;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

/// What every object of a load has.
pub(super) const SELECTOR: &str = "app%3Dsextant-load";
/// After a failure, so that a server that is away isn't asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// The resource version of an object or a list.
pub(super) fn revision(object: &Value) -> Result<u64> {
    let text = object["metadata"]["resourceVersion"].as_str();
    let text = text.with_context(|| format!("no resource version in {object}"))?;
    text.parse().context("a resource version")
}

pub(super) struct Writer {
    name: String,
    collection: String,
    filler: String,
    transport: Transport,
    /// Connects anew for each request.
    fresh: bool,
    tally: Arc<Tally>,
    history: Arc<History>,
    pace: Option<Interval>,
}

impl Writer {
    /// Must be called inside a runtime.
    pub fn new(
        number: u32,
        server: &Arc<Server>,
        shape: &Shape,
        tally: &Arc<Tally>,
        history: &Arc<History>,
    ) -> Self {
        let pace = shape.rate.map(|rate| {
            let mut pace = interval(Duration::from_secs(1) * shape.writers / rate.max(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        Self {
            name: format!("load-{number}"),
            collection: collection(&shape.namespace),
            filler: "x".repeat(shape.bytes),
            transport: Transport::new(server, tally),
            fresh: number == 0,
            tally: Arc::clone(tally),
            history: Arc::clone(history),
            pace,
        }
    }

    /// One object after the other. At the stop the last one is still deleted.
    pub async fn run(mut self, stopped: watch::Receiver<bool>) {
        for number in 0_u64.. {
            if *stopped.borrow() {
                return;
            }
            let name = format!("{}-{number}", self.name);
            if let Err(error) = self.life(&name).await {
                self.history.unsure(&name);
                self.tally.fail(format!("{name}: {error:#}"));
                sleep(PAUSE).await;
            }
        }
    }

    async fn life(&mut self, name: &str) -> Result<()> {
        let (collection, object) = (
            self.collection.clone(),
            format!("{}/{name}", self.collection),
        );
        let mut content = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app": "sextant-load"}},
            "data": {"step": "0", "filler": self.filler},
        });
        let created = self.ask("create", &collection, Some(&content)).await?;
        let mut newest = revision(&created)?;
        self.history.wrote(Kind::Added, name, newest);
        self.reads(&object, newest).await?;
        for step in ["1", "2"] {
            content["data"]["step"] = json!(step);
            content["metadata"]["resourceVersion"] = json!(newest.to_string());
            let updated = self.ask("update", &object, Some(&content)).await?;
            newest = revision(&updated)?;
            self.history.wrote(Kind::Modified, name, newest);
            self.lists(&collection, name, newest).await?;
        }
        self.ask("delete", &object, None).await?;
        self.history.deleted(name);
        Ok(())
    }

    /// What was acknowledged is there, wherever it is asked for.
    async fn reads(&mut self, object: &str, newest: u64) -> Result<()> {
        let found = revision(&self.ask("get", object, None).await?)?;
        ensure!(found == newest, "a stale read: {found} after {newest}");
        Ok(())
    }

    async fn lists(&mut self, collection: &str, name: &str, newest: u64) -> Result<()> {
        let path = format!("{collection}?labelSelector={SELECTOR}");
        let list = self.ask("list", &path, None).await?;
        let items = list["items"].as_array().context("a list without items")?;
        let item = items.iter().find(|item| item["metadata"]["name"] == name);
        let found = revision(item.context("a stale list: without the object")?)?;
        ensure!(found == newest, "a stale list: {found} after {newest}");
        Ok(())
    }

    async fn ask(&mut self, verb: &'static str, path: &str, body: Option<&Value>) -> Result<Value> {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        let method = match verb {
            "create" => Method::POST,
            "update" => Method::PUT,
            "delete" => Method::DELETE,
            _ => Method::GET,
        };
        let body = body.map(|body| Bytes::from(body.to_string()));
        if self.fresh {
            self.transport.disconnect();
        }
        let asked = Instant::now();
        let answer = self.transport.ask(&method, path, body.unwrap_or_default());
        let (status, body) = answer.await.with_context(|| verb)?;
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            let said = String::from_utf8_lossy(&body)
                .chars()
                .take(300)
                .collect::<String>();
            bail!("{verb}: {status}: {said}");
        }
        self.tally.answer(verb, asked.elapsed());
        serde_json::from_slice(&body).with_context(|| verb)
    }
}
