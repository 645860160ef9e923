//! The task that keeps one process running.

use sextant_kit::{backoff::Backoff, telemetry};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use tracing::{Instrument, field::Empty};

use super::{Signal, Spec, State, Status, process::Process};

/// What a [`super::Child`] asks.
#[derive(Debug)]
pub(super) enum Command {
    Detach(oneshot::Sender<()>),
    Replace(Box<Spec>, oneshot::Sender<()>),
    Restart(oneshot::Sender<()>),
    Signal(Signal),
    Stop(oneshot::Sender<()>),
}

pub(super) struct Supervisor {
    spec: Spec,
    queue: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    pauses: Backoff,
    /// Who waits until a replacement was started.
    replaced: Option<oneshot::Sender<()>>,
}

/// How the supervision goes on after a process or a pause has ended.
enum Next {
    End,
    Pause(String),
    Start,
}

impl Supervisor {
    pub(super) fn new(
        spec: Spec,
        queue: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        let pauses = Backoff::new(spec.restart_base, spec.restart_max);
        Self {
            spec,
            queue,
            status,
            pauses,
            replaced: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut next = Next::Start;
        loop {
            next = match next {
                Next::End => return self.publish(State::Stopped),
                Next::Pause(reason) => self.pause(reason).await,
                Next::Start => self.start().await,
            };
        }
    }

    async fn start(&mut self) -> Next {
        let span = tracing::info_span!(
            "child.start",
            process.executable.name = self.spec.name,
            process.executable.path = %self.spec.program.display(),
            process.pid = Empty,
            adopted = Empty,
        );
        let started = Process::adopt_or_start(&self.spec);
        let started = started.instrument(span.clone()).await;
        match &started {
            Ok(process) => {
                span.record("process.pid", process.pid);
                span.record("adopted", process.adopted);
            }
            Err(error) => telemetry::fail(&span, error),
        }
        // It has been started; what it does is its own to tell.
        drop(span);
        if let Some(done) = self.replaced.take() {
            let _ = done.send(());
        }
        match started {
            Ok(process) => self.follow(process).await,
            Err(error) => Next::Pause(format!("starting {}: {error}", self.spec.program.display())),
        }
    }

    /// Until the process has ended or nobody supervises it any more.
    async fn follow(&mut self, mut process: Process) -> Next {
        let Process { pid, adopted, .. } = process;
        tracing::info!(child = self.spec.name, pid, adopted, "running");
        self.publish(State::Running { pid, adopted });
        loop {
            let command = tokio::select! {
                exit = process.wait() => {
                    if process.since.elapsed() >= self.spec.stable_after {
                        self.pauses.reset();
                    }
                    return Next::Pause(format!("{} {exit}", self.spec.name));
                }
                command = self.queue.recv() => command,
            };
            match command {
                Some(Command::Signal(signal)) => {
                    if let Err(error) = process.signal(signal) {
                        tracing::warn!(child = self.spec.name, ?signal, %error, "signal not delivered");
                    }
                }
                Some(Command::Replace(spec, done)) => {
                    self.stop(&mut process).await;
                    return self.replace(*spec, done);
                }
                Some(Command::Restart(done)) => {
                    self.stop(&mut process).await;
                    return self.again(done);
                }
                Some(Command::Stop(done)) => {
                    self.stop(&mut process).await;
                    return self.end(done);
                }
                Some(Command::Detach(done)) => {
                    process.leave();
                    return self.end(done);
                }
                None if self.spec.survives.is_some() => return Next::End,
                None => {
                    self.stop(&mut process).await;
                    return Next::End;
                }
            }
        }
    }

    async fn pause(&mut self, reason: String) -> Next {
        let pause = self.pauses.next();
        tracing::warn!(
            child = self.spec.name,
            reason,
            ?pause,
            "not running: will be started again"
        );
        self.status.send_modify(|status| {
            status.crashes += 1;
            status.state = State::BackOff { reason, pause };
        });
        let elapsed = sleep(pause);
        tokio::pin!(elapsed);
        loop {
            let command = tokio::select! {
                () = &mut elapsed => return Next::Start,
                command = self.queue.recv() => command,
            };
            match command {
                Some(Command::Signal(_)) => {}
                Some(Command::Replace(spec, done)) => return self.replace(*spec, done),
                Some(Command::Restart(done)) => return self.again(done),
                Some(Command::Stop(done) | Command::Detach(done)) => return self.end(done),
                None => return Next::End,
            }
        }
    }

    async fn stop(&self, process: &mut Process) {
        self.publish(State::Stopping);
        let exit = process.stop(self.spec.grace).await;
        tracing::info!(child = self.spec.name, %exit, "stopped");
    }

    fn replace(&mut self, spec: Spec, done: oneshot::Sender<()>) -> Next {
        self.pauses = Backoff::new(spec.restart_base, spec.restart_max);
        self.spec = spec;
        self.replaced = Some(done);
        Next::Start
    }

    fn again(&mut self, done: oneshot::Sender<()>) -> Next {
        self.status.send_modify(|status| status.crashes += 1);
        self.replaced = Some(done);
        Next::Start
    }

    /// Everything is settled before the caller hears of it.
    fn end(&mut self, done: oneshot::Sender<()>) -> Next {
        self.publish(State::Stopped);
        let _ = done.send(());
        Next::End
    }

    fn publish(&self, state: State) {
        self.status.send_modify(|status| status.state = state);
    }
}
