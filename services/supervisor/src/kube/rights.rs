//! Rights of our own parts, kept as kube-apiserver keeps its own: what is missing or was changed comes back, unless an
//! annotation says that somebody else cares for the object.

use super::objects::{ObjectId, apply, delete, get};
use crate::error::Error;
use kube::Client;
use kube::api::DynamicObject;

/// Kubernetes' own: `"false"` leaves an object to whoever set it.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What is to be done about an object.
#[derive(Debug, PartialEq)]
enum Step {
    /// Make our fields of it as wanted, if it is still the version that was looked at.
    Apply,
    /// It isn't ours to change.
    Leave,
    /// It can't become what is wanted: the role of a binding never changes.
    Replace,
}

/// Makes an object as it is wanted.
pub(super) async fn keep(client: &Client, wanted: &DynamicObject) -> Result<(), Error> {
    let Some(id) = ObjectId::of(wanted) else {
        return Ok(());
    };
    let Some(found) = get(client, &id).await? else {
        return apply(client, wanted).await;
    };
    match step(wanted, &found) {
        Step::Apply => apply(client, &at(wanted, &found)).await,
        Step::Leave => {
            tracing::debug!(object = %id, "left as it is: {AUTO_UPDATE} is false");
            Ok(())
        }
        Step::Replace => {
            tracing::warn!(object = %id, "it gave another role than it should: replaced");
            delete(client, &id).await?;
            apply(client, wanted).await
        }
    }
}

fn step(wanted: &DynamicObject, found: &DynamicObject) -> Step {
    let annotations = found.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.get(AUTO_UPDATE).is_some_and(|it| it == "false")) {
        return Step::Leave;
    }
    if wanted.data["roleRef"] != found.data["roleRef"] {
        return Step::Replace;
    }
    Step::Apply
}

/// The wanted object for the version that was found, so that an annotation that somebody sets meanwhile isn't lost.
fn at(wanted: &DynamicObject, found: &DynamicObject) -> DynamicObject {
    let mut wanted = wanted.clone();
    wanted.metadata.resource_version = found.metadata.resource_version.clone();
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(kind: &str, update: Option<&str>, rest: Value) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "sextant:x", "resourceVersion": "7"},
        });
        if let Some(update) = update {
            object["metadata"]["annotations"] = json!({ AUTO_UPDATE: update });
        }
        for (key, value) in rest.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn binding(update: Option<&str>, role: &str) -> DynamicObject {
        let role = json!({"kind": "ClusterRole", "name": role});
        object("ClusterRoleBinding", update, json!({"roleRef": role}))
    }

    #[test]
    fn everything_is_kept_but_what_somebody_else_cares_for() {
        let wanted = binding(Some("true"), "a");
        for update in [None, Some("true"), Some("maybe")] {
            assert_eq!(step(&wanted, &binding(update, "a")), Step::Apply);
        }
        assert_eq!(step(&wanted, &binding(Some("false"), "a")), Step::Leave);
        assert_eq!(step(&wanted, &binding(Some("false"), "b")), Step::Leave);
        let rules = |verb: &str| json!({"rules": [{"verbs": [verb]}]});
        let role = |verb| object("ClusterRole", None, rules(verb));
        assert_eq!(step(&role("get"), &role("*")), Step::Apply);
    }

    #[test]
    fn a_binding_of_another_role_is_replaced() {
        assert_eq!(
            step(&binding(None, "a"), &binding(None, "b")),
            Step::Replace
        );
    }

    #[test]
    fn what_is_applied_is_for_the_version_that_was_seen() {
        let mut wanted = binding(None, "a");
        wanted.metadata.resource_version = None;
        let applied = at(&wanted, &binding(None, "a"));
        assert_eq!(applied.metadata.resource_version.as_deref(), Some("7"));
    }
}
