//! What is known of a process that outlives its supervisor.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::Spec;

/// The content of `<name>.pid`. A process id alone may be another process by now; together with the start time in
/// the kernel's ticks it can't.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Record {
    pub(super) pid: i32,
    pub(super) started_ticks: u64,
    command: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Record {
    pub(super) fn new(spec: &Spec, pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            started_ticks: started_ticks(pid)?,
            command: command(spec),
            environment: spec.environment.clone(),
        })
    }

    /// None when there is none, or none that can be read: then there is nothing to adopt.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("pid.new");
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(&fresh, path)
    }

    /// Whether the recorded process is what `spec` would start.
    pub(super) fn matches(&self, spec: &Spec) -> bool {
        self.command == command(spec) && self.environment == spec.environment
    }
}

fn command(spec: &Spec) -> Vec<String> {
    let program = spec.program.to_string_lossy().into_owned();
    std::iter::once(program)
        .chain(spec.arguments.iter().cloned())
        .collect()
}

/// Start time of a living process, field 22 of /proc/<pid>/stat. A zombie counts as gone.
pub(super) fn started_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("process {pid} isn't running"),
        )
    })
}

/// The name in parentheses may hold anything, parentheses and spaces too, so fields count from the last one.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_any_name() {
        let stat = |name: &str, state: &str| {
            format!("7 ({name}) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 9 0 1")
        };
        assert_eq!(parse_stat(&stat("sleep", "S")), Some(4242));
        assert_eq!(parse_stat(&stat("a) R (b 1 2", "S")), Some(4242));
        assert_eq!(parse_stat(&stat("sleep", "Z")), None);
        assert_eq!(parse_stat("7 (sleep) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn own_start_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(started_ticks(pid).unwrap() > 0);
        assert!(started_ticks(i32::MAX).is_err());
    }
}
