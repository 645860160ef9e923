//! What is said again and again is counted, and said once how often.
//!
//! Lines of level debug and trace are written all: somebody asked for them. So are lines of the audit target.

use super::filter::AUDIT;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one message from one place in the code that are written in a window.
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Messages that are told apart in a window; further ones are written.
const MESSAGES: usize = 1024;
/// Characters of a message that the summary repeats.
const LONGEST: usize = 200;

/// A place in the code, and the message's hash.
type Key = (Identifier, u64);

/// The filter. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    table: Arc<Mutex<Table>>,
    suppressed: Arc<Notify>,
    count: Counter,
}

#[derive(Debug, Default)]
struct Table {
    began: Option<Instant>,
    seen: HashMap<Key, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    written: u32,
    /// Set with the first line that isn't written.
    more: Option<Suppressed>,
}

/// Lines that weren't written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suppressed {
    level: Level,
    target: &'static str,
    message: String,
    times: u64,
}

impl Repeats {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "log_lines_suppressed",
            "Log lines that weren't written, since the same had been said too often",
            self.count.clone(),
        );
    }

    /// Says how often what was suppressed was said. For the life of the process.
    pub(super) async fn summarize(self) {
        loop {
            self.suppressed.notified().await;
            tokio::time::sleep(WINDOW).await;
            let suppressed = self.lock().take();
            for suppressed in suppressed {
                suppressed.say();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether the line is written, and whether it is the first of the window that isn't.
    fn admit(
        &mut self,
        key: Key,
        metadata: &'static Metadata<'static>,
        message: impl FnOnce() -> String,
        now: Instant,
    ) -> (bool, bool) {
        let nothing_to_say = self.seen.values().all(|seen| seen.more.is_none());
        let over = |began: Instant| now.duration_since(began) >= WINDOW;
        if self.began.is_none_or(over) && nothing_to_say {
            // Otherwise the summary, which is due, ends it.
            self.began = Some(now);
            self.seen.clear();
        }
        if self.seen.len() >= MESSAGES && !self.seen.contains_key(&key) {
            return (true, false);
        }
        let seen = self.seen.entry(key).or_default();
        if seen.written < MOST {
            seen.written += 1;
            return (true, false);
        }
        let more = seen.more.get_or_insert_with(|| Suppressed {
            level: *metadata.level(),
            target: metadata.target(),
            message: message(),
            times: 0,
        });
        more.times += 1;
        (false, nothing_to_say)
    }

    /// Ends the window.
    fn take(&mut self) -> Vec<Suppressed> {
        self.began = None;
        let seen = std::mem::take(&mut self.seen);
        seen.into_values().filter_map(|seen| seen.more).collect()
    }
}

impl Suppressed {
    fn say(self) {
        let Self {
            level,
            target,
            message,
            times,
        } = self;
        let seconds = WINDOW.as_secs();
        if level == Level::INFO {
            tracing::info!(target: AUDIT, of = target, line = message, times, seconds, "said more often than is written");
        } else {
            tracing::warn!(target: AUDIT, of = target, line = message, times, seconds, "said more often than is written");
        }
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // `event_enabled` may only say no where `enabled` was asked before, and that is what "sometimes" asks for.
        match is_counted(metadata) {
            true => Interest::sometimes(),
            false => Interest::always(),
        }
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if !is_counted(metadata) {
            return true;
        }
        let mut hash = Message(Hash(DefaultHasher::new()));
        event.record(&mut hash);
        let key = (metadata.callsite(), hash.0.0.finish());
        let message = || {
            let mut text = Message(Start(String::new()));
            event.record(&mut text);
            text.0.0
        };
        let (written, first) = self.lock().admit(key, metadata, message, Instant::now());
        if first {
            self.suppressed.notify_one();
        }
        if !written {
            self.count.inc();
        }
        written
    }
}

fn is_counted(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target() != AUDIT
}

/// Writes the event's message, and nothing of its fields.
struct Message<W>(W);

impl<W: fmt::Write> Visit for Message<W> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

struct Hash(DefaultHasher);

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// The first characters.
struct Start(String);

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.chars().count());
        self.0.extend(text.chars().take(room));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn count(&self, text: &str) -> usize {
            String::from_utf8_lossy(&self.0.lock().unwrap())
                .matches(text)
                .count()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_are_counted_and_told_once() {
        let (lines, repeats) = (Lines::default(), Repeats::default());
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_filter(repeats.clone());
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        for node in 0..MOST + 7 {
            tracing::warn!(node, "is away");
            tracing::debug!(node, "asked for");
            tracing::info!(target: AUDIT, node, "decided");
            tracing::info!("each its own: {node}");
        }
        let all = (MOST + 7) as usize;
        assert_eq!(lines.count("is away"), MOST as usize);
        assert_eq!(lines.count("asked for"), all);
        assert_eq!(lines.count("decided"), all);
        assert_eq!(lines.count("each its own"), all);
        assert_eq!(repeats.count.get(), 7);

        // Virtual time: the summary comes as soon as nothing else runs.
        let _ = tokio::time::timeout(2 * WINDOW, repeats.clone().summarize()).await;
        assert_eq!(lines.count("said more often"), 1);
        assert_eq!(lines.count("times=7"), 1);
        tracing::warn!("is away");
        assert_eq!(lines.count("is away"), MOST as usize + 1 + 1);
    }

    #[test]
    fn a_flood_of_messages_is_bounded() {
        static CALLSITE: tracing::callsite::DefaultCallsite = {
            static META: Metadata<'static> = tracing::metadata! {
                name: "test",
                target: "test",
                level: Level::WARN,
                fields: &[],
                callsite: &CALLSITE,
                kind: tracing::metadata::Kind::EVENT,
            };
            tracing::callsite::DefaultCallsite::new(&META)
        };
        use tracing::Callsite as _;
        let metadata = CALLSITE.metadata();
        let (mut table, now) = (Table::default(), Instant::now());
        for message in 0..5 * MESSAGES as u64 {
            let key = (metadata.callsite(), message);
            assert_eq!(table.admit(key, metadata, String::new, now), (true, false));
        }
        assert_eq!(table.seen.len(), MESSAGES);
        table.admit(
            (metadata.callsite(), 0),
            metadata,
            String::new,
            now + WINDOW,
        );
        assert_eq!(table.seen.len(), 1);
    }
}
