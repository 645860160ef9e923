//! Streams through the tunnel that count: `kubectl exec` and `kubectl logs --follow`.

use crate::Api;
use anyhow::{Context, Result};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Prints 1, 2, 3 …, five a second.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; usleep 200000; done";

/// Streams that go on until [`Streams::finish`], started again when they are cut.
pub struct Streams {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    running: Mutex<Option<Vec<(usize, Child)>>>,
    report: Mutex<StreamsReport>,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct StreamsReport {
    /// Lines that came, each the one after the last.
    pub lines: usize,
    /// Streams that ended by themselves.
    pub cuts: usize,
    /// Lines that are missing, and streams that couldn't be started again.
    pub failures: Vec<String>,
}

/// How a stream begins.
#[derive(Clone, Copy, Debug)]
enum From {
    /// With 1, each time.
    One,
    /// With all that there ever was.
    Beginning,
}

impl Streams {
    /// The pod that they need: its log counts. `image` has a shell.
    #[must_use]
    pub fn pod(name: &str, image: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
             containers:\n    - name: count\n      image: {image}\n      imagePullPolicy: Never\n      \
             command: [sh, -c, \"{COUNT}\"]\n"
        )
    }

    /// Starts `each` streams of either kind to a pod made of [`Streams::pod`].
    #[must_use]
    pub fn start(api: &impl Api, pod: &str, each: usize) -> Self {
        let shared = Arc::new(Shared::default());
        *shared.running() = Some(Vec::new());
        let mut threads = Vec::new();
        for number in 0..each {
            let kinds: [(&[&str], From); 2] = [
                (&["exec", pod, "--", "sh", "-c", COUNT], From::One),
                (&["logs", "--follow", pod], From::Beginning),
            ];
            for (kind, (arguments, from)) in kinds.into_iter().enumerate() {
                let mut command = api.kubectl_command();
                command.args(arguments);
                let (shared, id) = (Arc::clone(&shared), number * 2 + kind);
                threads.push(std::thread::spawn(move || shared.follow(id, command, from)));
            }
        }
        Self { shared, threads }
    }

    /// What has come so far.
    #[must_use]
    pub fn so_far(&self) -> StreamsReport {
        self.shared.report().clone()
    }

    /// Ends them.
    #[must_use]
    pub fn finish(self) -> StreamsReport {
        for (_, mut child) in self.shared.running().take().into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for thread in self.threads {
            // A thread that panicked has told nothing.
            let _ = thread.join();
        }
        self.shared.report().clone()
    }
}

impl Shared {
    /// None once they are to end.
    fn running(&self) -> MutexGuard<'_, Option<Vec<(usize, Child)>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, StreamsReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, id: usize, mut command: Command, from: From) {
        let mut last = 0;
        loop {
            let before = self.report().lines;
            let read = self.read(id, &mut command, from, &mut last);
            let ended = {
                let mut running = self.running();
                let Some(running) = running.as_mut() else {
                    return;
                };
                let at = running.iter().position(|(other, _)| *other == id);
                at.map(|at| running.swap_remove(at).1)
            };
            if let Some(mut child) = ended {
                let _ = child.kill();
                let _ = child.wait();
            }
            let mut report = self.report();
            match read {
                Ok(0) => {
                    let none = format!("stream {id}: ended before its first line");
                    report.failures.push(none);
                }
                Ok(_) if report.lines > before => report.cuts += 1,
                Ok(_) => {}
                Err(error) => report.failures.push(format!("stream {id}: {error:#}")),
            }
        }
    }

    /// Reads one stream to its end; how many lines came.
    fn read(&self, id: usize, command: &mut Command, from: From, last: &mut u64) -> Result<usize> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting kubectl")?;
        let output = child.stdout.take().context("no output")?;
        match self.running().as_mut() {
            Some(running) => running.push((id, child)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(0);
            }
        }
        if matches!(from, From::One) {
            *last = 0;
        }
        let mut lines = 0;
        let (mut output, mut line) = (BufReader::new(output), String::new());
        loop {
            line.clear();
            // What breaks a stream off in the midst of a line ends it as any other end does.
            let whole = output.read_line(&mut line).is_ok() && line.ends_with('\n');
            let Some(number) = whole.then(|| line.trim().parse::<u64>().ok()).flatten() else {
                break;
            };
            lines += 1;
            if matches!(from, From::Beginning) && number <= *last {
                continue;
            }
            anyhow::ensure!(number == *last + 1, "{number} came after {last}");
            *last = number;
            self.report().lines += 1;
        }
        Ok(lines)
    }
}

impl fmt::Display for StreamsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, cuts) = (self.lines, self.cuts);
        write!(f, "{lines} lines of exec and log, {cuts} streams cut")?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}
