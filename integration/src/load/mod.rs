//! Mixed load on a Kubernetes API, and the account of it: what was asked, what failed, and whether every watch told
//! every write once and in order.
//!
//! Each writer is a client of its own with one HTTP/2 connection, as client-go keeps it. **Excused**, because upstream's
//! servers do it to every client at a stop and client-go deals with it, is this and nothing else:
//!
//! - a request that the server hasn't begun when the connection ends gracefully (never sent, above the last stream of a
//!   GOAWAY, or REFUSED_STREAM) goes again over a new connection ([`Report::moved`]);
//! - 429 or 5xx with Retry-After, which a server answers that hasn't begun the request: it comes again after that time
//!   ([`Report::asked_to_wait`]);
//! - a watch that ends is resumed at the last resource version that it told ([`Report::resumed`]); one event too few, too
//!   many or out of order is a failure.
//!
//! Everything else fails: a connection that isn't accepted, one that breaks under a request, any other status, an answer
//! that is older than an acknowledged write.

mod asker;
mod history;
mod server;
mod streams;
mod tally;
mod transport;
mod watcher;
mod writer;

pub use asker::Question;
pub use streams::{Streams, StreamsReport};
pub use tally::Report;

use anyhow::{Context, Result};
use history::History;
use server::Server;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Tally;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the watchers may take to tell what was written last.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The namespace, which must exist and hold nothing else that is called `load-…`.
    pub namespace: String,
    /// Clients that create, read, list, update and delete ConfigMaps, one request at a time each. The first of them
    /// connects anew for each request, as short commands do.
    pub writers: u32,
    /// Requests a second of all writers together; `None` asks as quickly as it is answered.
    pub rate: Option<u32>,
    /// Clients that watch what is written.
    pub watchers: u32,
    /// Bytes in each object beside its metadata.
    pub bytes: usize,
}

impl Default for Shape {
    /// 200 requests a second by ten clients, watched by four.
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            writers: 10,
            rate: Some(200),
            watchers: 4,
            bytes: 512,
        }
    }
}

/// Load that goes on until [`Load::finish`].
pub struct Load {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    history: Arc<History>,
    tally: Arc<Tally>,
    writers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
    started: Instant,
}

impl Load {
    /// Starts it on the server of a kubeconfig with a client certificate in it (`sextant kubeconfig --static`). Every
    /// watch is established before anything is written.
    ///
    /// # Errors
    /// The kubeconfig can't be read, or the server can't be watched.
    pub fn start(kubeconfig: &Path, shape: &Shape) -> Result<Self> {
        let (server, runtime) = beginning(kubeconfig)?;
        let (stop, stopped) = watch::channel(false);
        let (history, tally) = (Arc::new(History::default()), Arc::new(Tally::default()));
        let entered = runtime.enter();
        let mut watchers = Vec::new();
        for number in 0..shape.watchers {
            let watcher = watcher::Watcher::new(number, &server, shape, &tally, &history);
            let watcher = runtime.block_on(watcher.established())?;
            watchers.push(runtime.spawn(watcher.run()));
        }
        let writers = (0..shape.writers)
            .map(|number| {
                let writer = writer::Writer::new(number, &server, shape, &tally, &history);
                runtime.spawn(writer.run(stopped.clone()))
            })
            .collect();
        drop(entered);
        Ok(Self {
            runtime,
            stop,
            history,
            tally,
            writers,
            watchers,
            started: Instant::now(),
        })
    }

    /// So many clients ask, one request at a time each, as quickly as they are answered. The first asks the first
    /// question over and over, the next one the next, and so on around.
    ///
    /// # Errors
    /// The kubeconfig can't be read.
    pub fn asking(kubeconfig: &Path, clients: usize, questions: &[Question]) -> Result<Self> {
        let (server, runtime) = beginning(kubeconfig)?;
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        let clients = questions.iter().cycle().take(clients).map(|question| {
            let asker = asker::Asker::new(question, &server, &tally);
            runtime.spawn(asker.run(stopped.clone()))
        });
        Ok(Self {
            writers: clients.collect(),
            runtime,
            stop,
            history: Arc::default(),
            tally,
            watchers: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.tally.answered()
    }

    /// Failures so far.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.tally.failed()
    }

    /// Lets every writer end what it is at, waits until the watches have told it, and counts.
    ///
    /// # Errors
    /// A writer or watcher panicked.
    pub fn finish(self) -> Result<Report> {
        let took = self.started.elapsed();
        self.runtime.block_on(async {
            self.stop.send_replace(true);
            for writer in self.writers {
                writer.await.context("a writer")?;
            }
            // What is missing then is told below.
            let _ = tokio::time::timeout(CATCH_UP, self.history.all_told()).await;
            for watcher in self.watchers {
                watcher.abort();
            }
            anyhow::Ok(())
        })?;
        for gap in self.history.gaps() {
            self.tally.fail(gap);
        }
        Ok(self.tally.report(took))
    }
}

fn beginning(kubeconfig: &Path) -> Result<(Arc<Server>, Runtime)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting a runtime")?;
    Ok((Arc::new(Server::read(kubeconfig)?), runtime))
}
