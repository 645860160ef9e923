//! What of the telemetry can be changed while the process runs.

use super::filter;
use super::sampling::Rule;
use sextant_proto::telemetry::{ChangeRequest, LogChange, SamplingChange, Settings};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing_subscriber::filter::EnvFilter;

/// Longest time that a change may be limited to.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const LONGEST_SLOW: Duration = Duration::from_secs(600);

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Takes over another log filter.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The process' telemetry. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    values: Mutex<Values>,
    reload: Reload,
    rule: Rule,
    exports_traces: bool,
}

struct Values {
    log: Setting<String>,
    sampling: Setting<Sampling>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) ratio: f64,
    pub(super) slow: Duration,
}

/// A value, what it is by configuration, and when it is that again.
#[derive(Clone, Debug)]
struct Setting<T> {
    configured: T,
    current: T,
    until: Option<Instant>,
    /// Of the last change, so that a later one outlives the end of an earlier one.
    generation: u64,
}

impl<T: Clone> Setting<T> {
    fn new(configured: T) -> Self {
        Self {
            current: configured.clone(),
            configured,
            until: None,
            generation: 0,
        }
    }

    fn set(&mut self, value: T, lasts: Option<Duration>) -> u64 {
        self.current = value;
        self.until = lasts.map(|lasts| Instant::now() + lasts);
        self.generation += 1;
        self.generation
    }

    /// At least 1 while there is an end.
    fn reverts_in_seconds(&self) -> u32 {
        self.until.map_or(0, |until| {
            let left = until.saturating_duration_since(Instant::now());
            u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1)
        })
    }
}

/// The telemetry of this process.
///
/// # Errors
/// There is none: [`super::init`] wasn't called.
pub fn control() -> Result<&'static Control, String> {
    CONTROL
        .get()
        .ok_or_else(|| "this process has set up no telemetry".to_owned())
}

impl Control {
    pub(super) fn new(
        log: &str,
        sampling: Sampling,
        rule: Rule,
        exports_traces: bool,
        reload: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let values = Values {
            log: Setting::new(log.to_owned()),
            sampling: Setting::new(sampling),
        };
        Self(Arc::new(Inner {
            values: Mutex::new(values),
            reload: Box::new(reload),
            rule,
            exports_traces,
        }))
    }

    /// Makes it what [`control`] gives.
    pub(super) fn install(self) {
        // There is one subscriber per process; a second would have been refused before.
        let _ = CONTROL.set(self);
    }

    /// Makes a change, and tells what is in force then. Needs a runtime.
    ///
    /// # Errors
    /// What of the change isn't possible; then nothing is changed.
    pub fn change(&self, change: &ChangeRequest) -> Result<Settings, String> {
        check(change)?;
        if let Some(log) = &change.log {
            self.change_log(log)?;
        }
        if let Some(sampling) = &change.sampling {
            self.change_sampling(sampling);
        }
        Ok(self.settings())
    }

    fn change_log(&self, change: &LogChange) -> Result<(), String> {
        let mut values = self.lock();
        let filter = match change.filter.as_str() {
            "" => values.log.configured.clone(),
            text => filter::parse(text, &values.log.configured)?,
        };
        self.reload(&filter)?;
        let lasts = lasts(change.for_seconds).filter(|_| !change.filter.is_empty());
        let generation = values.log.set(filter, lasts);
        drop(values);
        self.revert_after(lasts, move |control| {
            let mut values = control.lock();
            if values.log.generation == generation {
                let filter = values.log.configured.clone();
                let reloaded = control.reload(&filter);
                values.log.set(filter, None);
                drop(values);
                match reloaded {
                    Ok(()) => tracing::info!(target: filter::AUDIT, "the log level is as configured again"),
                    Err(error) => tracing::error!(error, "the log level stays"),
                }
            }
        });
        Ok(())
    }

    fn change_sampling(&self, change: &SamplingChange) {
        let mut values = self.lock();
        let as_configured = change.ratio.is_none() && change.slow_ms.is_none();
        let before = values.sampling.current;
        let sampling = match as_configured {
            true => values.sampling.configured,
            false => Sampling {
                ratio: change.ratio.unwrap_or(before.ratio),
                slow: change.slow_ms.map_or(before.slow, millis),
            },
        };
        self.0.rule.set(sampling.ratio, sampling.slow);
        let lasts = lasts(change.for_seconds).filter(|_| !as_configured);
        let generation = values.sampling.set(sampling, lasts);
        drop(values);
        self.revert_after(lasts, move |control| {
            let mut values = control.lock();
            if values.sampling.generation == generation {
                let Sampling { ratio, slow } = values.sampling.configured;
                control.0.rule.set(ratio, slow);
                values.sampling.set(Sampling { ratio, slow }, None);
                drop(values);
                tracing::info!(target: filter::AUDIT, "sampling is as configured again");
            }
        });
    }

    fn revert_after(&self, lasts: Option<Duration>, revert: impl FnOnce(&Self) + Send + 'static) {
        let Some(lasts) = lasts else { return };
        let control = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lasts).await;
            revert(&control);
        });
    }

    fn reload(&self, filter: &str) -> Result<(), String> {
        (self.0.reload)(filter::configured(filter)?)
    }

    fn settings(&self) -> Settings {
        let values = self.lock();
        let (log, sampling) = (&values.log, &values.sampling);
        Settings {
            log_filter: log.current.clone(),
            configured_log_filter: log.configured.clone(),
            log_reverts_in_seconds: log.reverts_in_seconds(),
            sampling_ratio: sampling.current.ratio,
            configured_sampling_ratio: sampling.configured.ratio,
            slow_ms: u32::try_from(sampling.current.slow.as_millis()).unwrap_or(u32::MAX),
            sampling_reverts_in_seconds: sampling.reverts_in_seconds(),
            exports_traces: self.0.exports_traces,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.settings()).finish()
    }
}

/// Whether a change is possible at all, wherever it is made.
///
/// # Errors
/// What isn't, and what would be.
pub fn check(change: &ChangeRequest) -> Result<(), String> {
    let log = change.log.as_ref();
    let sampling = change.sampling.as_ref();
    if let Some(log) = log.filter(|log| !log.filter.is_empty()) {
        filter::check(&log.filter)?;
    }
    let times = [log.map(|c| c.for_seconds), sampling.map(|c| c.for_seconds)];
    for seconds in times.into_iter().flatten() {
        if Duration::from_secs(seconds.into()) > LONGEST {
            return Err(format!(
                "{seconds} s is too long: a change lasts a day at most, or until the process ends"
            ));
        }
    }
    if let Some(ratio) = sampling.and_then(|c| c.ratio)
        && !(0.0..=1.0).contains(&ratio)
    {
        return Err(format!(
            "a share of {ratio} isn't possible: it is from 0 to 1"
        ));
    }
    if let Some(slow) = sampling.and_then(|c| c.slow_ms)
        && (slow == 0 || millis(slow) > LONGEST_SLOW)
    {
        return Err(format!(
            "{slow} ms isn't possible: slow is from 1 ms to {} s",
            LONGEST_SLOW.as_secs()
        ));
    }
    Ok(())
}

fn lasts(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        control: Control,
        loaded: Arc<Mutex<String>>,
    }

    fn fixture() -> Fixture {
        let loaded = Arc::new(Mutex::new(String::new()));
        let sampling = Sampling {
            ratio: 1.0,
            slow: Duration::from_secs(1),
        };
        let rule = Rule::new(sampling.ratio, sampling.slow);
        let sink = loaded.clone();
        let control = Control::new("info", sampling, rule, true, move |filter| {
            *sink.lock().unwrap() = filter.to_string();
            Ok(())
        });
        Fixture { control, loaded }
    }

    fn log(filter: &str, for_seconds: u32) -> ChangeRequest {
        ChangeRequest {
            log: Some(LogChange {
                filter: filter.to_owned(),
                for_seconds,
            }),
            sampling: None,
        }
    }

    fn sampling(ratio: Option<f64>, slow_ms: Option<u32>, for_seconds: u32) -> ChangeRequest {
        ChangeRequest {
            log: None,
            sampling: Some(SamplingChange {
                ratio,
                slow_ms,
                for_seconds,
            }),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_for_a_time() {
        let Fixture { control, loaded } = fixture();
        let told = control.change(&log("h2=off", 600)).unwrap();
        assert_eq!(told.log_filter, "info,h2=off");
        assert_eq!(told.configured_log_filter, "info");
        assert_eq!(told.log_reverts_in_seconds, 600);
        assert!(loaded.lock().unwrap().contains("h2=off"));
        tokio::time::sleep(Duration::from_secs(601)).await;
        let told = control.change(&ChangeRequest::default()).unwrap();
        assert_eq!(
            (told.log_filter.as_str(), told.log_reverts_in_seconds),
            ("info", 0)
        );
        assert!(!loaded.lock().unwrap().contains("h2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_change_outlives_the_end_of_an_earlier_one() {
        let Fixture { control, .. } = fixture();
        control.change(&log("debug", 10)).unwrap();
        control.change(&log("warn", 0)).unwrap();
        control.change(&sampling(Some(0.5), None, 10)).unwrap();
        control.change(&sampling(None, Some(20), 0)).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let told = control.change(&ChangeRequest::default()).unwrap();
        assert_eq!(told.log_filter, "warn");
        assert_eq!((told.sampling_ratio, told.slow_ms), (0.5, 20));
        let told = control.change(&log("", 0)).unwrap();
        assert_eq!(told.log_filter, "info");
        let told = control.change(&sampling(None, None, 0)).unwrap();
        assert_eq!((told.sampling_ratio, told.slow_ms), (1.0, 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn sampling_for_a_time() {
        let Fixture { control, .. } = fixture();
        let told = control.change(&sampling(Some(0.0), Some(5), 7)).unwrap();
        assert_eq!(told.sampling_reverts_in_seconds, 7);
        tokio::time::sleep(Duration::from_secs(8)).await;
        let told = control.change(&ChangeRequest::default()).unwrap();
        assert_eq!((told.sampling_ratio, told.slow_ms), (1.0, 1000));
    }

    #[tokio::test]
    async fn what_is_not_possible_changes_nothing() {
        let Fixture { control, loaded } = fixture();
        for (change, why) in [
            (log("inof", 0), "no level"),
            (log("debug", 100_000), "too long"),
            (sampling(Some(1.5), None, 0), "from 0 to 1"),
            (sampling(Some(f64::NAN), None, 0), "from 0 to 1"),
            (sampling(None, Some(0), 0), "from 1 ms"),
            (sampling(None, Some(600_001), 0), "from 1 ms"),
        ] {
            let refusal = control.change(&change).unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
        }
        assert!(loaded.lock().unwrap().is_empty());
    }
}
