//! A trace goes on in the etcd.

use crate::etcd::{self, Etcd};
use crate::support::Clients;
use sextant_testkit::{Collector, Process, Span, eventually, free_port};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_leads_into_the_etcd() {
    let Some(binary) = etcd::binary() else { return };
    let collector = Collector::start().await;
    let address = collector.endpoint();
    let address = address.trim_start_matches("http://");
    // It traces what its callers trace, and begins none.
    let flags = [
        "--enable-distributed-tracing".to_owned(),
        format!("--distributed-tracing-address={address}"),
        "--distributed-tracing-sampling-rate=0".to_owned(),
    ];
    let etcd = Etcd::start_with(&binary, 1, "http", &flags).await;
    let (_process, mut clients) = serve(&etcd, &collector).await;
    clients.put("k", "v").await;

    eventually(LIMIT, "a span of the etcd", || async {
        let spans = collector.spans();
        let parent = |span: &Span| {
            let parent = spans.iter().find(|other| other.span_id == span.parent);
            parent.cloned()
        };
        let of_put = |span: &&Span| {
            let asked = parent(span).filter(|asked| asked.service == "datastore-proxy");
            let call = asked.and_then(|asked| parent(&asked));
            call.is_some_and(|call| call.name == "/etcdserverpb.KV/Put")
        };
        let mut ours = spans.iter().filter(|span| span.service == "etcd");
        if ours.any(|span| of_put(&span)) {
            return Ok(());
        }
        Err(format!("{spans:#?}"))
    })
    .await;
    let spans = collector.spans();
    let lost = spans
        .iter()
        .find(|span| span.service == "etcd" && span.parent.is_empty());
    assert!(lost.is_none(), "it began {lost:?}");
}

async fn serve(etcd: &Etcd, collector: &Collector) -> (Process, Clients) {
    let listen = format!("127.0.0.1:{}", free_port());
    let admin = format!("common.admin_listen=127.0.0.1:{}", free_port());
    let endpoint = format!("etcd://{}/planes/blue", etcd.members());
    let args = [
        ["serve", "--insecure-loopback"].as_slice(),
        &[
            "--endpoint",
            &endpoint,
            "--listen",
            &listen,
            "--set",
            &admin,
        ],
    ]
    .concat();
    let address = collector.endpoint();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let program = Path::new(env!("CARGO_BIN_EXE_datastore-proxy"));
    let process = Process::spawn(program, &args, &environment).unwrap();
    (process, Clients::answering(&listen, LIMIT).await)
}
