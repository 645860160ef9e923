//! A client that watches, and resumes where a watch ended.

use super::history::{Event, History, Kind};
use super::server::Server;
use super::tally::Tally;
use super::transport::Transport;
use super::{Shape, writer};
use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Between a failure and the next attempt; each failure counts.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Watcher {
    number: u32,
    transport: Transport,
    tally: Arc<Tally>,
    history: Arc<History>,
    collection: String,
    /// Of the last event or bookmark.
    revision: u64,
    stream: Option<Incoming>,
}

impl Watcher {
    pub fn new(
        number: u32,
        server: &Arc<Server>,
        shape: &Shape,
        tally: &Arc<Tally>,
        history: &Arc<History>,
    ) -> Self {
        history.expect(number);
        Self {
            number,
            transport: Transport::new(server, tally),
            tally: Arc::clone(tally),
            history: Arc::clone(history),
            collection: writer::collection(&shape.namespace),
            revision: 0,
            stream: None,
        }
    }

    /// With a watch that begins now.
    pub async fn established(mut self) -> Result<Self> {
        let selector = writer::SELECTOR;
        let path = format!("{}?labelSelector={selector}&limit=1", self.collection);
        let (status, body) = self
            .transport
            .ask(&Method::GET, &path, Bytes::new())
            .await
            .context("listing before the watch")?;
        ensure!(status == StatusCode::OK, "listing answered {status}");
        let list: Value = serde_json::from_slice(&body)?;
        self.revision = writer::revision(&list)?;
        self.stream = Some(self.open().await?);
        Ok(self)
    }

    /// Until it is aborted.
    pub async fn run(mut self) {
        loop {
            match self.follow().await {
                // Upstream ends watches when it stops, and after some time anyway.
                Ok(()) => self.tally.resumed(),
                Err(error) => {
                    self.tally.fail(format!("watch {}: {error:#}", self.number));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Tells what comes until the stream ends, however it does.
    async fn follow(&mut self) -> Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await?,
        };
        let mut buffer = BytesMut::new();
        while let Some(frame) = stream.frame().await {
            // The end of a connection ends its watches; whether anything is missing shows in what the next one tells.
            let Ok(frame) = frame else { return Ok(()) };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                self.take(&line)?;
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Incoming> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&labelSelector={}&resourceVersion={}",
            self.collection,
            writer::SELECTOR,
            self.revision
        );
        let response = self
            .transport
            .open(&Method::GET, &path, Bytes::new())
            .await?;
        let status = response.status();
        ensure!(status == StatusCode::OK, "at {}: {status}", self.revision);
        Ok(response.into_body())
    }

    fn take(&mut self, line: &[u8]) -> Result<()> {
        let event: Value = serde_json::from_slice(line).context("an event")?;
        let object = &event["object"];
        let kind = match event["type"].as_str() {
            Some("ADDED") => Kind::Added,
            Some("MODIFIED") => Kind::Modified,
            Some("DELETED") => Kind::Deleted,
            Some("BOOKMARK") => {
                self.revision = writer::revision(object)?;
                return Ok(());
            }
            _ => bail!("at {}: {event}", self.revision),
        };
        self.revision = writer::revision(object)?;
        let name = object["metadata"]["name"].as_str().context("no name")?;
        let event = Event {
            revision: self.revision,
            kind,
            name: name.to_owned(),
        };
        self.history.told(self.number, event);
        Ok(())
    }
}
