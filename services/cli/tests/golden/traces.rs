//! `sextant trace`.

use crate::support::{NOW, all_formats};
use sextant_cli::commands::trace::TraceView;
use sextant_cli::trace::{Link, Span, Trace};

const REQUEST: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const BATCH: &str = "0af7651916cd43dd8448eb211c80319c";
const KUBELET: &str = "5b8efff798038103d269b633813fc60c";
const STATEMENT: &str = "
    WITH fence AS (
        UPDATE writer SET beat = beat + 1, batch = $2
        WHERE epoch = $1 RETURNING epoch
    ), written AS (
        INSERT INTO log (id, revision, key) SELECT w.* FROM fence, unnest($4::bigint[]) AS w
    )
    SELECT count(*) FROM fence";

/// A span of so many microseconds, from the beginning of the trace.
fn span(ids: [&str; 3], service: &str, name: &str, start: u64, time: u64) -> Span {
    let [trace, id, parent] = ids.map(str::to_owned);
    let began = NOW.unsigned_abs() * 1_000_000_000;
    let start = began + start * 1000;
    Span {
        service: service.into(),
        name: name.into(),
        trace,
        id,
        parent,
        start,
        end: start + time * 1000,
        ..Span::default()
    }
}

#[test]
fn a_trace_is_a_tree_with_what_is_linked_to_it() {
    let link = |trace: &str| Link {
        trace: trace.into(),
        span: "c".into(),
    };
    let spans = vec![
        Span {
            links: vec![link(KUBELET)],
            attributes: [("audit-id".to_owned(), "0f-1".to_owned())].into(),
            ..span(
                [REQUEST, "a", ""],
                "apiserver",
                "PATCH /api/v1/pods",
                0,
                8480,
            )
        },
        span([REQUEST, "b", "a"], "apiserver", "Update", 450, 7870),
        Span {
            error: Some("the store is full".into()),
            ..span(
                [REQUEST, "c", "b"],
                "datastore-proxy",
                "/etcdserverpb.KV/Txn",
                2450,
                5130,
            )
        },
        span(
            [REQUEST, "d", "a"],
            "apiserver",
            "SerializeObject",
            8270,
            45,
        ),
        Span {
            host: "node-1".into(),
            ..span(
                [REQUEST, "e", "gone"],
                "containerd",
                "late",
                9000,
                1_200_000,
            )
        },
        Span {
            links: vec![link(REQUEST)],
            ..span([BATCH, "f", ""], "datastore-proxy", "commit", 3130, 1580)
        },
        Span {
            attributes: [("db.query.text".to_owned(), STATEMENT.to_owned())].into(),
            ..span(
                [BATCH, "g", "f"],
                "datastore-proxy",
                "committing",
                3350,
                985,
            )
        },
    ];
    let view = TraceView::new(Trace::new(REQUEST, spans));
    all_formats("trace", &view);
}
