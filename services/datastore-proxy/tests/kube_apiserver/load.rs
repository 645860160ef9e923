//! Clients that make, change, list and delete objects through both servers.

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

pub const NAMESPACE: &str = "default";
const WORKERS: usize = 4;

/// A kind of object.
pub struct Kind {
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// Where it is in the store.
    pub prefix: &'static str,
}

impl Kind {
    pub const ALL: [Self; 3] = [
        Self {
            group: "",
            kind: "ConfigMap",
            plural: "configmaps",
            prefix: "/registry/configmaps/",
        },
        Self {
            group: "",
            kind: "Secret",
            plural: "secrets",
            prefix: "/registry/secrets/",
        },
        Self {
            group: "coordination.k8s.io",
            kind: "Lease",
            plural: "leases",
            prefix: "/registry/leases/",
        },
    ];

    fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, "v1", self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    /// All of it, in every namespace.
    pub fn all(&self, client: &kube::Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// What is in the tests' namespace.
    pub fn api(&self, client: &kube::Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), NAMESPACE, &self.resource())
    }
}

/// Name → the revision that was acknowledged last, `None` once it is deleted.
pub type Known = BTreeMap<String, Option<i64>>;

/// Clients at work.
pub struct Load {
    workers: Vec<Worker>,
    round: Duration,
}

impl Load {
    pub fn new(clients: &[kube::Client], objects: usize, round: Duration) -> Self {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let worker = |number: usize| Worker {
            clients: clients.to_vec(),
            // No two workers have an object in common, so each knows what its objects must be.
            objects: (number..objects).step_by(WORKERS).collect(),
            rng: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            known: Kind::ALL.map(|_| Known::new()),
        };
        Self {
            workers: (0..WORKERS).map(worker).collect(),
            round,
        }
    }

    /// Works for a while; answers what is known of each kind of object then.
    pub async fn round(&mut self) -> Vec<Known> {
        let end = Instant::now() + self.round;
        let tasks: Vec<_> = self
            .workers
            .drain(..)
            .map(|worker| tokio::spawn(worker.work(end)))
            .collect();
        for task in tasks {
            self.workers.push(task.await.unwrap());
        }
        let all = |kind: usize| -> Known {
            let known = self.workers.iter().map(|worker| &worker.known[kind]);
            known.flat_map(Clone::clone).collect()
        };
        (0..Kind::ALL.len()).map(all).collect()
    }
}

struct Worker {
    clients: Vec<kube::Client>,
    objects: Vec<usize>,
    rng: StdRng,
    known: [Known; Kind::ALL.len()],
}

impl Worker {
    async fn work(mut self, end: Instant) -> Self {
        while Instant::now() < end {
            let kind = self.rng.random_range(0..Kind::ALL.len());
            let object = self.objects[self.rng.random_range(0..self.objects.len())];
            let name = format!("object-{object}");
            // Now through the one, now through the other: what the one acknowledged the other must know.
            let client = &self.clients[self.rng.random_range(0..self.clients.len())];
            let api = Kind::ALL[kind].api(client);
            match self.known[kind].get(&name).copied().flatten() {
                None => self.create(kind, &api, &name).await,
                Some(revision) => self.change(kind, &api, &name, revision).await,
            }
        }
        self
    }

    async fn create(&mut self, kind: usize, api: &Api<DynamicObject>, name: &str) {
        let found = api.get_opt(name).await.unwrap();
        assert!(found.is_none(), "{name} is there, though it was deleted");
        let resource = Kind::ALL[kind].resource();
        let object = DynamicObject::new(name, &resource).data(json!({}));
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        self.known[kind].insert(name.to_owned(), Some(revision(&made)));
        let again = api.create(&PostParams::default(), &object).await;
        assert_eq!(code(again), 409, "{name} was made twice");
    }

    async fn change(&mut self, kind: usize, api: &Api<DynamicObject>, name: &str, known: i64) {
        let found = api.get(name).await.unwrap();
        assert_eq!(revision(&found), known, "{name}: a stale read");
        let mark = self.rng.random::<u64>().to_string();
        let now = match self.rng.random_range(0..10) {
            0..3 => {
                let mut changed = found.clone();
                changed.metadata.annotations = Some([("mark".to_owned(), mark)].into());
                let changed = replace(api, name, &changed).await.unwrap();
                // What is changed by now can't be changed on the old ground.
                assert_eq!(code(replace(api, name, &found).await), 409, "{name}");
                Some(revision(&changed))
            }
            3..7 => {
                let patch = Patch::Merge(json!({"metadata": {"annotations": {"mark": mark}}}));
                let patched = api.patch(name, &PatchParams::default(), &patch).await;
                Some(revision(&patched.unwrap()))
            }
            7..9 => {
                api.delete(name, &DeleteParams::default()).await.unwrap();
                None
            }
            _ => {
                self.list(kind, api).await;
                Some(known)
            }
        };
        self.known[kind].insert(name.to_owned(), now);
    }

    /// Page by page; every object of this worker must be in it, as it was left.
    async fn list(&self, kind: usize, api: &Api<DynamicObject>) {
        let mut found = HashMap::new();
        let mut page = ListParams::default().limit(50);
        loop {
            let list = match api.list(&page).await {
                // Compacted between two pages.
                Err(kube::Error::Api(status)) if status.code == 410 => return,
                list => list.unwrap(),
            };
            let items = list.items.iter();
            found.extend(items.map(|item| (item.metadata.name.clone().unwrap(), revision(item))));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        for (name, known) in &self.known[kind] {
            assert_eq!(found.get(name).copied(), *known, "{name} in a list");
        }
    }
}

async fn replace(
    api: &Api<DynamicObject>,
    name: &str,
    object: &DynamicObject,
) -> kube::Result<DynamicObject> {
    api.replace(name, &PostParams::default(), object).await
}

fn code(answer: kube::Result<DynamicObject>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no refusal: {other:?}"),
    }
}

pub fn revision(object: &DynamicObject) -> i64 {
    let version = object.metadata.resource_version.as_ref();
    version
        .expect("a resource version")
        .parse()
        .expect("a number")
}
