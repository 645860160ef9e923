//! A Kubernetes API in miniature: lists and watches over HTTP.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// The API. Cheap to clone.
#[derive(Clone, Default)]
pub struct Api {
    state: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    version: u64,
    /// By plural, by namespace and name.
    objects: BTreeMap<String, BTreeMap<(String, String), Value>>,
    watchers: BTreeMap<String, Vec<mpsc::UnboundedSender<String>>>,
    /// Version, plural and text of every event.
    history: Vec<(u64, String, String)>,
}

impl Api {
    /// Serves on a free port of loopback, in the network namespace of the calling thread.
    pub async fn serve(&self) -> kube::Client {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/api/v1/{plural}", axum::routing::get(list))
            .route("/apis/{group}/v1/{plural}", axum::routing::get(list))
            .route(
                "/apis/{group}/v1/namespaces/{namespace}/{plural}",
                axum::routing::get(list),
            )
            .route(
                "/apis/{group}/v1/namespaces/{namespace}/{plural}/{name}",
                axum::routing::get(read),
            )
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let uri = format!("http://{address}").parse().unwrap();
        kube::Client::try_from(kube::Config::new(uri)).unwrap()
    }

    /// Adds or changes an object and tells the watchers.
    pub fn put(&self, plural: &str, object: &impl Serialize) {
        let mut object = serde_json::to_value(object).unwrap();
        let mut shared = self.state.lock().unwrap();
        shared.version += 1;
        object["metadata"]["resourceVersion"] = shared.version.to_string().into();
        let known = shared.objects.entry(plural.into()).or_default();
        let change = if known.insert(key(&object), object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        shared.tell(plural, change, &object);
    }

    /// Removes an object and tells the watchers.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut shared = self.state.lock().unwrap();
        shared.version += 1;
        let version = shared.version.to_string();
        let gone = shared
            .objects
            .get_mut(plural)
            .unwrap()
            .remove(&(namespace.into(), name.into()));
        let mut gone = gone.unwrap();
        gone["metadata"]["resourceVersion"] = version.into();
        shared.tell(plural, "DELETED", &gone);
    }
}

impl Shared {
    fn tell(&mut self, plural: &str, change: &str, object: &Value) {
        let event = json!({"type": change, "object": object}).to_string() + "\n";
        if let Some(watchers) = self.watchers.get_mut(plural) {
            watchers.retain(|watcher| watcher.send(event.clone()).is_ok());
        }
        self.history.push((self.version, plural.to_owned(), event));
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |field: &str| {
        object["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

async fn list(
    State(api): State<Api>,
    Path(path): Path<HashMap<String, String>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let plural = &path["plural"];
    let mut shared = api.state.lock().unwrap();
    if query.get("watch").is_some_and(|watch| watch == "true") {
        let (sender, events) = mpsc::unbounded_channel();
        let since: u64 = query["resourceVersion"].parse().unwrap();
        for (version, of, event) in &shared.history {
            if *version > since && of == plural {
                sender.send(event.clone()).unwrap();
            }
        }
        shared
            .watchers
            .entry(plural.clone())
            .or_default()
            .push(sender);
        let events = UnboundedReceiverStream::new(events).map(Ok::<_, std::convert::Infallible>);
        return Body::from_stream(events).into_response();
    }
    let items: Vec<_> = shared
        .objects
        .get(plural)
        .into_iter()
        .flat_map(|all| all.values())
        .collect();
    let list = json!({"metadata": {"resourceVersion": shared.version.to_string()}, "items": items});
    list.to_string().into_response()
}

async fn read(State(api): State<Api>, Path(path): Path<HashMap<String, String>>) -> Response {
    let shared = api.state.lock().unwrap();
    let key = (path["namespace"].clone(), path["name"].clone());
    match shared
        .objects
        .get(&path["plural"])
        .and_then(|all| all.get(&key))
    {
        Some(object) => object.to_string().into_response(),
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "NotFound", "code": 404, "message": "not found", "metadata": {}});
            (StatusCode::NOT_FOUND, status.to_string()).into_response()
        }
    }
}
