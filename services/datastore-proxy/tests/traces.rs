//! What a trace shows of a write and of a read: the RPC, the batch, and what the database was asked.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::{Collector, Process, Span, eventually, free_port};
use std::path::Path;
use std::time::Duration;
use support::{Clients, Store, get};

support::on_each_backend! {
    a_trace_leads_to_the_database,
}

const CLIENT: i32 = 3;

async fn a_trace_leads_to_the_database(store: Store) {
    let collector = Collector::start().await;
    let (mut process, mut clients) = serve(&store, &collector).await;
    let first = clients.put("k", "v").await;
    clients.put("k", "w").await;
    // Of the past, so that it isn't read from memory.
    let old = pb::RangeRequest {
        revision: first,
        ..get("k")
    };
    clients.kv.range(old).await.unwrap();
    process.signal(nix::sys::signal::Signal::SIGTERM);
    // What it has is sent before it ends.
    let status = process.wait(Duration::from_secs(30)).await;
    assert!(status.success(), "{}", process.output());

    let spans = collector.spans();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name.contains(name));
    let parent = |span: &Span| {
        let parent = spans.iter().find(|other| other.span_id == span.parent);
        parent.map(|parent| parent.name.clone())
    };
    let committing: Vec<_> = named("committing").collect();
    assert!(committing.len() >= 2, "{spans:#?}");
    for span in committing {
        assert_eq!(
            (span.kind, parent(span).as_deref()),
            (CLIENT, Some("commit"))
        );
    }
    let waits: Vec<_> = named("commit.wait").filter_map(parent).collect();
    assert!(
        waits.len() >= 2 && waits.iter().all(|name| name.ends_with("/Put")),
        "{waits:?}"
    );
    let read = named("reading").any(|span| {
        let of_range = parent(span).is_some_and(|parent| parent.ends_with("/Range"));
        span.kind == CLIENT && of_range
    });
    assert!(read, "{spans:#?}");
}

async fn serve(store: &Store, collector: &Collector) -> (Process, Clients) {
    let listen = format!("127.0.0.1:{}", free_port());
    let settings = [
        format!("common.admin_listen=127.0.0.1:{}", free_port()),
        format!("peer.listen=127.0.0.1:{}", free_port()),
    ];
    let endpoint = store.config().endpoint;
    let mut args = vec!["serve", "--insecure-loopback", "--endpoint", &endpoint];
    args.extend(["--listen", &listen]);
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let address = collector.endpoint();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str())];
    let program = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
    let process = Process::spawn(program, &args, &environment).unwrap();
    let clients = eventually(Duration::from_secs(30), "it serves", || {
        let url = format!("http://{listen}");
        async move {
            let channel = tonic::transport::Channel::from_shared(url).unwrap();
            let channel = channel.connect().await.map_err(|e| e.to_string())?;
            let mut clients = Clients::over(channel);
            let asked = clients.kv.range(get("x")).await;
            asked.map(|_| clients).map_err(|e| e.to_string())
        }
    });
    (process, clients.await)
}
