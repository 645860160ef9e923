//! What waits for the writer: sent from anywhere, taken by one thread.

use super::command::Command;
use crate::domain::fair::Fair;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Requests of one caller that may wait for the writer.
const BOUND: usize = 5000;

fn empty() -> Fair<Command> {
    Fair::new(BOUND, |command| command.caller.name())
}

/// A new queue.
pub fn queue() -> (Sender, Queue) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            waiting: empty(),
            senders: 1,
            is_closed: false,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Queue(shared))
}

struct Shared {
    state: Mutex<State>,
    /// Something waits, or the last sender is gone.
    changed: Condvar,
}

struct State {
    waiting: Fair<Command>,
    senders: usize,
    /// Nobody takes anything any more.
    is_closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where requests come in. Cheap to clone.
pub struct Sender(Arc<Shared>);

/// Why a queue takes no more.
pub enum Rejected {
    /// The writer has ended.
    Closed(Box<Command>),
    /// Too many requests of this caller wait.
    Full,
}

impl Sender {
    pub(super) fn send(&self, command: Command) -> Result<(), Rejected> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(Rejected::Closed(Box::new(command)));
        }
        let pushed = state.waiting.push(command);
        drop(state);
        self.0.changed.notify_one();
        pushed.map_err(|_| Rejected::Full)
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state().senders -= 1;
        self.0.changed.notify_one();
    }
}

/// Where the writer takes them.
pub struct Queue(Arc<Shared>);

/// What there is to take without waiting.
pub(super) enum Next {
    Command(Command),
    /// Nothing now.
    Empty,
    /// Nothing any more: all senders are gone.
    End,
}

impl Queue {
    /// The next one, once there is one; `None` when there can't be another.
    pub(super) fn wait(&self) -> Option<Command> {
        let state = self.0.state();
        let mut state = self
            .0
            .changed
            .wait_while(state, |state| state.waiting.is_empty() && state.senders > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop()
    }

    pub(super) fn next(&self) -> Next {
        let mut state = self.0.state();
        match state.waiting.pop() {
            Some(command) => Next::Command(command),
            None if state.senders == 0 => Next::End,
            None => Next::Empty,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.state().waiting.len()
    }

    /// Takes no more; what waits can still be taken.
    pub(super) fn close(&self) {
        self.0.state().is_closed = true;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_closed = true;
        let waiting = std::mem::replace(&mut state.waiting, empty());
        // Whoever waits for an answer hears that there won't be one; not under the lock.
        drop(state);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Refused, Request, enqueue};
    use super::*;
    use crate::domain::authz::Caller;

    fn ask(sender: &Sender, caller: &str) -> Result<super::super::Pending, Refused> {
        enqueue(sender, Request::Defragment, Caller::named(caller))
    }

    fn taken(queue: &Queue) -> Option<String> {
        match queue.next() {
            Next::Command(command) => Some(command.caller.name().to_owned()),
            Next::Empty | Next::End => None,
        }
    }

    #[test]
    fn a_noisy_caller_is_refused_and_nobody_else_waits_for_it() {
        let (sender, queue) = queue();
        let mut answers = Vec::new();
        for _ in 0..BOUND {
            answers.push(ask(&sender, "token-service").ok().unwrap());
        }
        assert!(matches!(ask(&sender, "token-service"), Err(Refused::Full)));
        answers.push(ask(&sender, "kube-apiserver").ok().unwrap());
        assert_eq!(taken(&queue).as_deref(), Some("token-service"));
        assert_eq!(taken(&queue).as_deref(), Some("kube-apiserver"));
    }

    #[test]
    fn what_waits_when_the_writer_goes_is_answered_and_the_next_is_given_back() {
        let (sender, queue) = queue();
        let mut answer = ask(&sender, "supervisor").ok().unwrap();
        queue.close();
        assert!(matches!(
            ask(&sender, "supervisor"),
            Err(Refused::Closed(_))
        ));
        drop(queue);
        assert!(
            answer
                .try_recv()
                .is_err_and(|error| { error == tokio::sync::oneshot::error::TryRecvError::Closed })
        );
    }

    #[test]
    fn the_writer_ends_when_nobody_can_ask_any_more() {
        let (sender, queue) = queue();
        let other = sender.clone();
        let waiting = std::thread::spawn(move || queue.wait().is_none());
        drop(sender);
        drop(other);
        assert!(waiting.join().unwrap());
    }
}
