//! A trace's spans as a tree.
use super::span::{POD_UID, Span};
use std::collections::{BTreeMap, BTreeSet};

/// A trace, and those that are linked to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Roots and orphans, the earliest first.
    pub roots: Vec<Branch>,
    /// What was done together with other work and is linked to this trace, such as the commit of a batch: each a tree of
    /// its own, the earliest first.
    pub linked: Vec<Branch>,
}

/// A span and what was done for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Itself.
    pub span: Span,
    /// Its parent isn't among what was written: it was not sampled, was lost, or is under way.
    pub orphan: bool,
    /// The earliest first.
    pub children: Vec<Branch>,
}

impl Trace {
    /// Puts together the spans of trace `id`; of the others, those that are linked to it.
    pub fn new(id: &str, spans: Vec<Span>) -> Self {
        let (own, others): (Vec<_>, Vec<_>) = spans.into_iter().partition(|s| s.trace == id);
        let pod = own.iter().find_map(|span| span.attributes.get(POD_UID));
        let pod = pod.cloned();
        let linked =
            others
                .into_iter()
                .fold(BTreeMap::<String, Vec<Span>>::new(), |mut traces, span| {
                    traces.entry(span.trace.clone()).or_default().push(span);
                    traces
                });
        let mut linked: Vec<Branch> = linked
            .into_values()
            .flat_map(branches)
            .filter(|branch| branch.span.belongs_to(id, pod.as_deref()))
            .collect();
        linked.sort_by_key(|branch| branch.span.start);
        Self {
            id: id.to_owned(),
            roots: branches(own),
            linked,
        }
    }

    /// Nanoseconds since 1970; 0 for a trace without spans.
    pub fn start(&self) -> u64 {
        let starts = self.roots.iter().map(|root| root.span.start);
        starts.min().unwrap_or_default()
    }

    /// Every span of its own.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        let mut open: Vec<&Branch> = self.roots.iter().collect();
        std::iter::from_fn(move || {
            let branch = open.pop()?;
            open.extend(&branch.children);
            Some(&branch.span)
        })
    }
}

/// The trees that spans of one trace make. A collector may be sent the same span twice; one is kept.
fn branches(spans: Vec<Span>) -> Vec<Branch> {
    let mut seen = BTreeSet::new();
    let mut spans: Vec<Span> = spans
        .into_iter()
        .filter(|span| seen.insert(span.id.clone()))
        .collect();
    spans.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    let mut children: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    let mut tops = Vec::new();
    for span in spans {
        let has_parent = span.parent != span.id && seen.contains(&span.parent);
        if has_parent {
            children.entry(span.parent.clone()).or_default().push(span);
        } else {
            tops.push(span);
        }
    }
    let mut trees: Vec<Branch> = tops
        .into_iter()
        .map(|span| grow(span, &mut children))
        .collect();
    // What is left are circles, which no honest process makes: each is shown once.
    while let Some((_, left)) = children.pop_first() {
        trees.extend(left.into_iter().map(|span| Branch {
            orphan: true,
            ..grow(span, &mut children)
        }));
    }
    trees
}

fn grow(span: Span, children: &mut BTreeMap<String, Vec<Span>>) -> Branch {
    let own = children.remove(&span.id).unwrap_or_default();
    Branch {
        orphan: !span.parent.is_empty(),
        children: own
            .into_iter()
            .map(|child| Branch {
                orphan: false,
                ..grow(child, children)
            })
            .collect(),
        span,
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::Link;
    use super::*;

    fn span(trace: &str, id: &str, parent: &str, start: u64) -> Span {
        Span {
            trace: trace.into(),
            id: id.into(),
            parent: parent.into(),
            start,
            ..Span::default()
        }
    }

    fn linked(mut span: Span, trace: &str) -> Span {
        span.links.push(Link {
            trace: trace.into(),
            span: "x".into(),
        });
        span
    }

    /// `a(b,c!)`: a with the children b and the orphan c.
    fn shape(branches: &[Branch]) -> String {
        let one = |branch: &Branch| {
            let mark = if branch.orphan { "!" } else { "" };
            match &branch.children[..] {
                [] => format!("{}{mark}", branch.span.id),
                children => format!("{}{mark}({})", branch.span.id, shape(children)),
            }
        };
        branches.iter().map(one).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn children_follow_their_parent_in_the_order_of_time() {
        let spans = vec![
            span("t", "late", "root", 30),
            span("t", "deep", "early", 12),
            span("t", "root", "", 1),
            span("t", "early", "root", 10),
            span("t", "early", "root", 10),
        ];
        let trace = Trace::new("t", spans);
        assert_eq!(shape(&trace.roots), "root(early(deep),late)");
        assert_eq!(trace.start(), 1);
        assert_eq!(trace.spans().count(), 4);
    }

    #[test]
    fn what_lost_its_parent_is_marked() {
        let spans = vec![
            span("t", "root", "", 1),
            span("t", "orphan", "gone", 2),
            span("t", "child", "orphan", 3),
            span("t", "self", "self", 4),
        ];
        assert_eq!(
            shape(&Trace::new("t", spans).roots),
            "root,orphan!(child),self!"
        );
    }

    #[test]
    fn circles_end() {
        let spans = vec![
            span("t", "a", "b", 1),
            span("t", "b", "a", 2),
            span("t", "c", "", 3),
        ];
        let trace = Trace::new("t", spans);
        assert_eq!(trace.spans().count(), 3, "{}", shape(&trace.roots));
    }

    #[test]
    fn the_policy_of_a_pod_belongs_to_its_start() {
        let of_pod = |mut span: Span, name: &str, uid: &str| {
            span.name = name.into();
            span.attributes.insert(POD_UID.into(), uid.into());
            span
        };
        let spans = vec![
            of_pod(span("t", "root", "", 1), "syncPod", "u"),
            of_pod(span("hook", "mine", "", 2), "ensure_policy", "u"),
            of_pod(span("other", "others", "", 2), "ensure_policy", "v"),
            of_pod(span("later", "again", "", 3), "syncPod", "u"),
        ];
        assert_eq!(shape(&Trace::new("t", spans).linked), "mine");
    }

    #[test]
    fn only_batches_for_this_trace_are_linked() {
        let spans = vec![
            span("t", "root", "", 1),
            linked(span("batch", "commit", "", 5), "t"),
            span("batch", "statement", "commit", 6),
            linked(span("other", "commit", "", 2), "u"),
            linked(span("first", "commit", "", 3), "t"),
        ];
        let trace = Trace::new("t", spans);
        assert_eq!(shape(&trace.linked), "commit,commit(statement)");
        assert_eq!(shape(&trace.roots), "root");
    }
}
