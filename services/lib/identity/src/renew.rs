//! Keeping a certificate fresh: at half life with jitter, by the wall clock.

use crate::error::Error;
use crate::key::Credentials;
use crate::tls::utc;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use sextant_kit::backoff::Backoff;
use sextant_kit::readiness::Task;
use sextant_kit::{Drain, Metrics};
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// End of life of every certificate that this process renews.
static NOT_AFTER: LazyLock<Family<CertificateLabels, Gauge>> = LazyLock::new(Family::default);

/// And its begin: how much of a life is left says more than how long, since lives are configured.
static NOT_BEFORE: LazyLock<Family<CertificateLabels, Gauge>> = LazyLock::new(Family::default);

/// Attempts to renew.
static RENEWALS: LazyLock<Family<RenewalLabels, Counter>> = LazyLock::new(Family::default);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RenewalLabels {
    certificate: String,
    outcome: &'static str,
}

/// Once per process.
pub(crate) fn register(metrics: &Metrics) {
    metrics.register(|registry| {
        let help = "End of life of a certificate that this process renews, Unix time";
        registry.register_with_unit(
            "certificate_not_after",
            help,
            Unit::Seconds,
            NOT_AFTER.clone(),
        );
        let help = "Begin of life of a certificate that this process renews, Unix time";
        registry.register_with_unit(
            "certificate_not_before",
            help,
            Unit::Seconds,
            NOT_BEFORE.clone(),
        );
        let help = "Attempts to renew a certificate by outcome: done or failed";
        registry.register("certificate_renewals", help, RENEWALS.clone());
    });
}

fn note(what: &str, credentials: &Credentials) {
    let labels = CertificateLabels {
        certificate: what.to_owned(),
    };
    let unix = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs().cast_signed()
    };
    NOT_AFTER
        .get_or_create(&labels)
        .set(unix(credentials.not_after));
    NOT_BEFORE
        .get_or_create(&labels)
        .set(unix(credentials.not_before));
}

fn count(what: &str, outcome: &'static str) {
    RENEWALS.get_or_create(&renewals(what, outcome)).inc();
}

/// Both outcomes from the begin on: Prometheus sees no increase in a series whose first value isn't zero.
fn begin(what: &str) {
    for outcome in ["done", "failed"] {
        RENEWALS.get_or_create_owned(&renewals(what, outcome));
    }
}

fn renewals(what: &str, outcome: &'static str) -> RenewalLabels {
    RenewalLabels {
        certificate: what.to_owned(),
        outcome,
    }
}

/// The wall clock, as a parameter.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A sleep never lasts longer than this, since timers stand still while a machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The system's clock.
pub(crate) fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}

/// When to renew: half life, give or take a tenth of the life.
pub(crate) fn renewal_time(credentials: &Credentials, jitter: f64) -> SystemTime {
    let life = credentials
        .not_after
        .duration_since(credentials.not_before)
        .unwrap_or_default();
    credentials.not_before + life.mul_f64(0.5 + 0.1 * jitter.clamp(-1.0, 1.0))
}

/// The span in which a certificate is renewed.
#[must_use]
pub fn renewal(what: &str) -> Span {
    tracing::info_span!(
        "certificate.renew",
        certificate = what,
        tls.client.not_before = Empty,
        tls.client.not_after = Empty,
    )
}

/// Says on the span of [`renewal`] what came of it.
pub fn renewed(span: &Span, fresh: &Credentials) {
    span.record("tls.client.not_before", utc(fresh.not_before));
    span.record("tls.client.not_after", utc(fresh.not_after));
}

/// Renews what `sender` publishes until the drain or until nobody follows it. `issue` is told whether the
/// current certificate has expired.
pub(crate) async fn keep<F, Fut>(
    what: &str,
    sender: watch::Sender<Arc<Credentials>>,
    task: Task,
    clock: Clock,
    drain: &Drain,
    mut issue: F,
) where
    F: FnMut(bool) -> Fut,
    Fut: Future<Output = Result<Credentials, Error>>,
{
    begin(what);
    let work = async {
        loop {
            note(what, &sender.borrow());
            let at = renewal_time(&sender.borrow(), rand::random_range(-1.0..=1.0));
            sleep_until(&clock, at).await;
            let span = renewal(what);
            let fresh = renew(what, &sender, &task, &clock, &mut issue)
                .instrument(span.clone())
                .await;
            renewed(&span, &fresh);
            tracing::info!(
                what,
                not_after = utc(fresh.not_after),
                "certificate renewed"
            );
            task.ready();
            sender.send_replace(Arc::new(fresh));
        }
    };
    tokio::select! {
        _ = drain.run(work) => {}
        () = sender.closed() => {}
    }
}

async fn renew<F, Fut>(
    what: &str,
    sender: &watch::Sender<Arc<Credentials>>,
    task: &Task,
    clock: &Clock,
    issue: &mut F,
) -> Credentials
where
    F: FnMut(bool) -> Fut,
    Fut: Future<Output = Result<Credentials, Error>>,
{
    let not_after = sender.borrow().not_after;
    let not_before = sender.borrow().not_before;
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let now = clock();
        let expired = now >= not_after;
        let issued = issue(expired).await;
        count(what, if issued.is_ok() { "done" } else { "failed" });
        match issued {
            Ok(fresh) => return fresh,
            Err(error) if expired => {
                task.waiting(format!("{what} expired at {}: {error}", utc(not_after)));
            }
            // At two thirds of its life somebody should look.
            Err(error) if now >= not_before + life.mul_f64(2.0 / 3.0) => {
                tracing::error!(what, %error, not_after = utc(not_after), "renewal is late");
            }
            Err(error) => tracing::warn!(what, %error, "renewal failed, trying again"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn sleep_until(clock: &Clock, at: SystemTime) {
    while let Ok(left) = at.duration_since(clock()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}
