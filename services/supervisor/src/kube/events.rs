//! Events of the Kubernetes API, followed while somebody looks at them.

use crate::domain::events::RecentEvents;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Event as KubeEvent;
use kube::Client;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use sextant_kit::Drain;
use sextant_proto::supervisor::EventInfo;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long events are followed after somebody asked.
const INTEREST: Duration = Duration::from_secs(60);
/// Events in one piece of the first list: all of them may be many, and only the newest are kept.
const PAGE: u32 = 250;

type Clients = watch::Receiver<Option<Client>>;

/// What is known of the events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventsFollower {
    asked: watch::Sender<Option<Instant>>,
    seen: watch::Receiver<Seen>,
}

/// The newest events, or why there are none.
#[derive(Clone, Debug)]
struct Seen {
    events: Arc<RecentEvents>,
    missing: String,
}

impl Seen {
    fn nothing(why: &str) -> Self {
        Self {
            events: Arc::default(),
            missing: why.into(),
        }
    }
}

impl EventsFollower {
    /// Follows events with what `clients` holds, as long as somebody asks.
    pub fn start(clients: Clients, drain: &Drain) -> Self {
        let (asked, interest) = watch::channel(None);
        let (publish, seen) = watch::channel(Seen::nothing("they are being read"));
        drain.spawn(follow(clients, interest, publish));
        Self { asked, seen }
    }

    /// At most so many, the newest first; and why events are missing, "" while they are followed.
    pub fn newest(&self, most: usize) -> (Vec<EventInfo>, String) {
        if most == 0 {
            return (Vec::new(), String::new());
        }
        self.asked.send_replace(Some(Instant::now()));
        let seen = self.seen.borrow();
        (seen.events.newest(most), seen.missing.clone())
    }
}

async fn follow(
    mut clients: Clients,
    mut interest: watch::Receiver<Option<Instant>>,
    publish: watch::Sender<Seen>,
) {
    loop {
        let recently =
            |asked: &Option<Instant>| asked.is_some_and(|asked| asked.elapsed() < INTEREST);
        if interest.wait_for(recently).await.is_err() {
            return;
        }
        if clients.borrow().is_none() {
            publish.send_replace(Seen::nothing(
                "this supervisor has no certificate for kube-apiserver yet",
            ));
        }
        let watched = async {
            let client = clients.wait_for(Option::is_some).await;
            if let Some(client) = client.ok().and_then(|client| client.clone()) {
                watch_events(client, &publish).await;
            }
        };
        tokio::select! {
            () = lost(&mut interest) => publish.send_replace(Seen::nothing("they are being read")),
            () = watched => return,
        };
    }
}

/// Ends when nobody has asked for a while.
async fn lost(interest: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let until = interest.borrow_and_update().map(|asked| asked + INTEREST);
        let Some(until) = until.filter(|until| *until > Instant::now()) else {
            return;
        };
        tokio::time::sleep_until(until).await;
    }
}

/// Never ends.
async fn watch_events(client: Client, publish: &watch::Sender<Seen>) {
    let config = watcher::Config::default().page_size(PAGE);
    let mut stream =
        std::pin::pin!(watcher(Api::<KubeEvent>::all(client), config).default_backoff());
    let mut followed = Followed::default();
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => {
                if followed.take(event) {
                    publish.send_replace(Seen {
                        events: Arc::new(followed.current.clone()),
                        missing: String::new(),
                    });
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "watching events");
                publish.send_modify(|seen| seen.missing = format!("kube-apiserver: {error}"));
            }
        }
    }
}

/// What the watch has brought.
#[derive(Debug, Default)]
struct Followed {
    /// A list that isn't complete yet.
    listed: RecentEvents,
    current: RecentEvents,
}

impl Followed {
    /// Whether there is something new to show. A list that begins isn't: what was known stays until it is complete.
    fn take(&mut self, event: Event<KubeEvent>) -> bool {
        match event {
            Event::Init => self.listed = RecentEvents::default(),
            Event::InitApply(event) => {
                let (uid, info) = view(event);
                self.listed.note(uid, info);
            }
            Event::InitDone => {
                self.current = std::mem::take(&mut self.listed);
                return true;
            }
            Event::Apply(event) => {
                let (uid, info) = view(event);
                self.current.note(uid, info);
                return true;
            }
            Event::Delete(event) => {
                self.current.forget(&event.metadata.uid.unwrap_or_default());
                return true;
            }
        }
        false
    }
}

fn view(event: KubeEvent) -> (String, EventInfo) {
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| series.last_observed_time.as_ref().map(|time| time.0))
        .or(event.last_timestamp.as_ref().map(|time| time.0))
        .or(event.event_time.as_ref().map(|time| time.0))
        .or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0));
    let count = series
        .and_then(|series| series.count)
        .or(event.count)
        .unwrap_or(1);
    let object = event.involved_object;
    let kind = object.kind.unwrap_or_default();
    let name = object.name.unwrap_or_default();
    let info = EventInfo {
        last_unix: last.map_or(0, |time| time.as_second()),
        r#type: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        object: match object.namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) if kind != "Node" => format!("{kind} {namespace}/{name}"),
            _ => format!("{kind} {name}"),
        },
        message: event.message.unwrap_or_default(),
        count: u32::try_from(count).unwrap_or(1),
    };
    (event.metadata.uid.unwrap_or_default(), info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> EventInfo {
        view(serde_json::from_str(text).unwrap()).1
    }

    #[test]
    fn an_event_of_either_api_is_understood() {
        let old = read(
            r#"{"metadata": {"uid": "1", "creationTimestamp": "2026-11-26T02:00:00Z"},
                "involvedObject": {"kind": "Pod", "namespace": "kube-system", "name": "coredns-0"},
                "type": "Warning", "reason": "BackOff", "message": "Back-off", "count": 4,
                "lastTimestamp": "2026-11-26T02:10:00Z", "firstTimestamp": "2026-11-26T02:00:00Z"}"#,
        );
        assert_eq!((old.count, old.last_unix), (4, 1_795_659_000));
        assert_eq!(old.object, "Pod kube-system/coredns-0");
        let new = read(
            r#"{"metadata": {"uid": "2"}, "involvedObject": {"kind": "Node", "namespace": "default", "name": "node-1"},
                "eventTime": "2026-11-26T02:00:00.000000Z",
                "series": {"count": 7, "lastObservedTime": "2026-11-26T02:20:00.000000Z"}}"#,
        );
        assert_eq!((new.count, new.last_unix), (7, 1_795_659_600));
        assert_eq!(new.object, "Node node-1");
    }

    #[test]
    fn a_new_list_takes_the_old_one_s_place_when_it_is_complete() {
        let event = |uid: &str| {
            let text = format!(r#"{{"metadata": {{"uid": "{uid}"}}, "involvedObject": {{}}}}"#);
            serde_json::from_str::<KubeEvent>(&text).unwrap()
        };
        let mut followed = Followed::default();
        let known = |followed: &Followed| followed.current.newest(9).len();
        assert!(!followed.take(Event::Init), "nothing is known yet");
        assert!(!followed.take(Event::InitApply(event("a"))));
        assert!(followed.take(Event::InitDone) && known(&followed) == 1);
        assert!(followed.take(Event::Apply(event("b"))) && known(&followed) == 2);
        assert!(!followed.take(Event::Init) && known(&followed) == 2);
        assert!(followed.take(Event::InitDone) && known(&followed) == 0);
        followed.take(Event::Apply(event("c")));
        assert!(followed.take(Event::Delete(event("c"))) && known(&followed) == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn interest_is_lost_a_minute_after_the_last_question() {
        let (asked, mut interest) = watch::channel(Some(Instant::now()));
        let start = Instant::now();
        let again = async {
            tokio::time::sleep(INTEREST / 2).await;
            asked.send_replace(Some(Instant::now()));
        };
        tokio::join!(again, lost(&mut interest));
        assert_eq!(start.elapsed().as_secs(), 90);
    }

    #[tokio::test]
    async fn says_why_there_is_nothing() {
        let (drain, _trigger) = Drain::new();
        let (_clients, none) = watch::channel(None);
        let follower = EventsFollower::start(none, &drain);
        assert_eq!(follower.newest(0), (vec![], String::new()));
        sextant_testkit::eventually(Duration::from_secs(5), "a reason", || async {
            let (events, missing) = follower.newest(9);
            assert!(events.is_empty());
            if missing.contains("no certificate") {
                Ok(())
            } else {
                Err(missing)
            }
        })
        .await;
    }
}
