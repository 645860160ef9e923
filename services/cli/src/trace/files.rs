//! The files, read line by line: there may be hundreds of MiB, and of one trace little is in them.
use super::span::POD_UID;
use super::{Span, Trace, Wanted};
use crate::{Error, docker};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Where the collector of compose/observability.yaml writes.
const FOLDER: &str = "/var/lib/collector";
/// Linked traces that are shown: a commit is one, and a join makes some dozens.
const MOST_LINKED: usize = 100;

/// Where traces are.
#[derive(Clone, Debug)]
pub enum Source {
    /// The collector's container in a compose project.
    Compose {
        /// The project's name.
        project: String,
        /// The `docker` program.
        docker: PathBuf,
    },
    /// A file, or a folder with `traces*.jsonl`.
    Files(PathBuf),
}

/// Finds the newest trace that is wanted, and what is linked to it.
///
/// # Errors
/// When there is none, or the files can't be read.
pub async fn find(source: &Source, wanted: &Wanted) -> Result<Trace, Error> {
    match source {
        Source::Files(path) => read(&path.display().to_string(), path, wanted),
        Source::Compose { project, docker } => {
            let container = docker::container(docker, project, "collector").await?;
            let copy =
                tempfile::tempdir().map_err(|e| Error::state("make", &std::env::temp_dir(), e))?;
            let (from, to) = (
                format!("{container}:{FOLDER}/."),
                copy.path().display().to_string(),
            );
            docker::run(docker, &["cp", &from, &to]).await?;
            read(
                &format!("{FOLDER} of container {container}"),
                copy.path(),
                wanted,
            )
        }
    }
}

fn read(place: &str, path: &Path, wanted: &Wanted) -> Result<Trace, Error> {
    let files = files(path)?;
    let mut newest: Option<Span> = None;
    each_span(&files, &|line| line.contains(wanted.needle()), |span| {
        let newer = newest.as_ref().is_none_or(|n| n.start <= span.start);
        if newer && wanted.is_in(&span) {
            newest = Some(span);
        }
    })?;
    let newest = newest.ok_or_else(|| Error::NoTrace {
        what: wanted.to_string(),
        place: place.to_owned(),
    })?;
    let (id, pod) = (&newest.trace, newest.attributes.get(POD_UID));
    let pod = pod.map(String::as_str);
    let may_hold = |line: &str| line.contains(id) || pod.is_some_and(|uid| line.contains(uid));
    let (mut spans, mut linked) = (Vec::new(), BTreeSet::new());
    each_span(&files, &may_hold, |span| {
        if span.trace == *id {
            spans.push(span);
        } else if span.belongs_to(id, pod) && linked.len() < MOST_LINKED {
            linked.insert(span.trace);
        }
    })?;
    each_span(
        &files,
        &|line| linked.iter().any(|trace| line.contains(trace)),
        |span| {
            if linked.contains(&span.trace) {
                spans.push(span);
            }
        },
    )?;
    Ok(Trace::new(id, spans))
}

fn each_span(
    files: &[PathBuf],
    may_hold: &dyn Fn(&str) -> bool,
    mut take: impl FnMut(Span),
) -> Result<(), Error> {
    for path in files {
        let failed = |e| Error::state("read", path, e);
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            // A cut character can only be in a line that was cut, too.
            if let Ok(text) = std::str::from_utf8(&line)
                && may_hold(text)
            {
                Span::read(text).into_iter().for_each(&mut take);
            }
            line.clear();
        }
    }
    Ok(())
}

/// The file, or those of the folder: the collector adds a time to the names of older ones.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |e| Error::state("read", path, e);
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("traces") && name.ends_with(".jsonl") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(trace: &str, id: &str, name: &str, start: u64, more: &str) -> String {
        format!(
            r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"{id}","name":"{name}","startTimeUnixNano":"{start}","endTimeUnixNano":"{start}"{more}}}]}}]}}]}}"#
        ) + "\n"
    }

    fn node(name: &str) -> String {
        format!(r#","attributes":[{{"key":"node","value":{{"stringValue":"{name}"}}}}]"#)
    }

    #[tokio::test]
    async fn the_newest_join_is_found_over_all_files_with_its_commits() {
        let folder = tempfile::tempdir().unwrap();
        let old = line("aa", "1", "node_start", 1, &node("node-1"))
            + &line("bb", "1", "node_start", 9, &node("node-2"));
        std::fs::write(folder.path().join("traces-2026.jsonl"), old).unwrap();
        let new = line("cc", "1", "node_start", 5, &node("node-1"))
            + &line(
                "dd",
                "2",
                "commit",
                6,
                r#","links":[{"traceId":"cc","spanId":"1"}]"#,
            )
            + &line("dd", "3", "committing", 7, r#","parentSpanId":"2""#)
            + r#"{"resourceSpans":[{"resource"#;
        std::fs::write(folder.path().join("traces.jsonl"), new).unwrap();
        std::fs::write(folder.path().join("logs.jsonl"), "node_start\n").unwrap();

        let source = Source::Files(folder.path().to_owned());
        let join = Wanted::Join("node-1".into());
        let trace = find(&source, &join).await.unwrap();
        assert_eq!(trace.id, "cc");
        assert_eq!(trace.linked[0].children[0].span.name, "committing");

        let wanted = Wanted::Join("node-3".into());
        let missing = find(&source, &wanted).await.unwrap_err().to_string();
        assert!(missing.contains("a start of node node-3"), "{missing}");
    }

    #[tokio::test]
    async fn the_collectors_container_is_asked_by_default() {
        let home = tempfile::tempdir().unwrap();
        let (docker, volume) = (home.path().join("docker"), home.path().join("volume"));
        let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker.sh");
        std::os::unix::fs::symlink(stand_in, &docker).unwrap();
        std::fs::create_dir(&volume).unwrap();
        let lines = line("aa", "1", "node_start", 1, &node("node-1"));
        std::fs::write(volume.join("traces.jsonl"), lines).unwrap();
        let project = "sextant".to_owned();
        let source = Source::Compose { project, docker };
        let found = find(&source, &Wanted::Join("node-1".into())).await.unwrap();
        assert_eq!(found.id, "aa");
    }

    #[tokio::test]
    async fn a_request_is_found_by_its_audit_id() {
        let folder = tempfile::tempdir().unwrap();
        let audit = r#","attributes":[{"key":"audit-id","value":{"stringValue":"0f-1"}}]"#;
        let file = folder.path().join("any.jsonl");
        std::fs::write(&file, line("aa", "1", "PATCH", 1, audit)).unwrap();
        let wanted = Wanted::Request("0f-1".into());
        let trace = find(&Source::Files(file), &wanted).await.unwrap();
        assert_eq!(trace.spans().count(), 1);
    }
}
