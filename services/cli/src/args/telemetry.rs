//! Grammar of `sextant log-level` and `sextant sampling`.
use crate::commands::telemetry::RESET;
use crate::duration;
use clap::Args;
use std::time::Duration;

/// `sextant log-level`
#[derive(Args, Debug)]
pub struct LogLevel {
    /// Whose: a part as `sextant status` names it, node-agent or netpol-controller. Each of its processes is meant.
    pub service: Option<String>,
    /// error, warn, info, debug or trace; or TARGET=LEVEL, several with commas between, such as
    /// `datastore_proxy::engine=debug`; or `reset`, for what is configured.
    #[arg(value_name = "LEVEL")]
    pub wanted: Option<String>,
    /// After this time it is as configured again.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, requires = "wanted")]
    pub lasts: Option<Duration>,
}

/// `sextant sampling`
#[derive(Args, Debug)]
pub struct Sampling {
    /// Whose: a part as `sextant status` names it, node-agent or netpol-controller. Each of its processes is meant.
    pub service: Option<String>,
    /// Which share of the traces that begin there is exported, from 0 to 1; or `reset`, for what is configured. What
    /// failed or was slow is exported anyway.
    #[arg(value_name = "RATIO", value_parser = share)]
    pub wanted: Option<Share>,
    /// What takes this long is slow, such as 200ms or 2s.
    #[arg(long, value_name = "DURATION", value_parser = millis, requires = "service")]
    pub slow: Option<Millis>,
    /// After this time it is as configured again.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, requires = "service")]
    pub lasts: Option<Duration>,
}

/// A share of the traces, or none: as configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub Option<f64>);

/// A time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

fn share(text: &str) -> Result<Share, String> {
    if text == RESET {
        return Ok(Share(None));
    }
    let ratio = text.parse().ok().filter(|r| (0.0..=1.0).contains(r));
    let ratio = ratio.ok_or_else(|| format!("'{text}' is no number from 0 to 1, nor `{RESET}`"))?;
    Ok(Share(Some(ratio)))
}

fn millis(text: &str) -> Result<Millis, String> {
    let millis = match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => duration::parse(text)
            .ok()
            .and_then(|d| u32::try_from(d.as_millis()).ok()),
    };
    let millis = millis.filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| format!("'{text}' is no time like 200ms or 2s"))?;
    Ok(Millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_short() {
        assert_eq!(millis("200ms"), Ok(Millis(200)));
        assert_eq!(millis("2s"), Ok(Millis(2000)));
        assert_eq!(share("reset"), Ok(Share(None)));
        assert_eq!(share("0.25"), Ok(Share(Some(0.25))));
    }
}
