//! Calls that stay open by their nature: how long they took says nothing of how quick the server is.

/// `/package.Service/Method` of each, in alphabetical order.
const STAY_OPEN: &[&str] = &[
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Watch/Watch",
    "/sextant.certauthority.v1.CertAuthority/WatchTrust",
    "/sextant.datastore.v1.Replica/Follow",
    "/sextant.supervisor.v1.Components/RestartPermit",
    "/sextant.supervisor.v1.Components/Watch",
    "/sextant.supervisor.v1.Egress/Connect",
    "/sextant.supervisor.v1.NodeSession/Session",
    "/sextant.supervisor.v1.NodeSession/Tunnel",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Observe",
    "/v3lockpb.Lock/Lock",
];

/// Whether a call of this method ends only when somebody goes away, or when it is somebody's turn.
pub(super) fn stays_open(method: &str) -> bool {
    STAY_OPEN.binary_search(&method).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Streams that end when they have told what they were asked for.
    const END: &[&str] = &[
        "/etcdserverpb.KV/RangeStream",
        "/etcdserverpb.Maintenance/Snapshot",
        "/sextant.certauthority.v1.CertAuthority/ListIssued",
    ];

    /// Every method in the protos with whether either side of it is a stream.
    fn methods(folder: &Path, found: &mut Vec<(String, bool)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                methods(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let (mut package, mut service) = ("", "");
            for line in text.lines() {
                let words: Vec<_> = line
                    .split([' ', ';', '(', '{'])
                    .filter(|word| !word.is_empty())
                    .collect();
                match words.as_slice() {
                    ["package", name, ..] => package = name,
                    ["service", name, ..] => service = name,
                    ["rpc", name, rest @ ..] => {
                        let method = format!("/{package}.{service}/{name}");
                        found.push((method, rest.contains(&"stream")));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn each_stream_is_known_as_one_or_the_other() {
        assert!(STAY_OPEN.is_sorted());
        let mut found = Vec::new();
        methods(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"),
            &mut found,
        );
        for (method, is_stream) in &found {
            let known = stays_open(method) || END.contains(&method.as_str());
            assert!(known || !is_stream, "{method} is a stream: of which kind?");
        }
        for known in STAY_OPEN {
            assert!(found.iter().any(|(method, _)| method == known), "{known}");
        }
    }
}
