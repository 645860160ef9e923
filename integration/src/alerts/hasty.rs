//! The rules for tests that can't wait for hours.

use anyhow::{Context, Result, bail, ensure};
use serde_norway::Value;

/// A minute of the rules is a second here. What they say is the same: a crash loop makes as many crashes in a quarter of
/// a minute as the rule asks for in a quarter of an hour, and numbers that aren't durations of the rule itself (how full,
/// how many, how many days before an end) stay.
pub const HASTE: u64 = 60;

/// A rule file whose durations (`for`, `keep_firing_for`, `interval`, and the ranges of expressions) are divided by
/// [`HASTE`].
///
/// # Errors
/// It isn't a rule file, or has a duration in a place that isn't known here.
pub fn rules(text: &str) -> Result<String> {
    let mut file: Value = serde_norway::from_str(text)?;
    let groups = file["groups"].as_sequence_mut().context("no groups")?;
    for group in groups {
        shorten(group, "interval")?;
        let rules = group["rules"].as_sequence_mut().context("no rules")?;
        for rule in rules {
            for key in ["for", "keep_firing_for"] {
                shorten(rule, key)?;
            }
            let expression = rule["expr"].as_str().context("no expr")?;
            rule["expr"] = self::expression(expression)?.into();
        }
    }
    Ok(serde_norway::to_string(&file)?)
}

fn shorten(of: &mut Value, key: &str) -> Result<()> {
    if let Some(value) = of.get_mut(key) {
        let text = value
            .as_str()
            .with_context(|| format!("{key} is no text"))?;
        *value = divided(text)?.into();
    }
    Ok(())
}

/// The expression with the ranges in its brackets divided.
fn expression(text: &str) -> Result<String> {
    ensure!(
        !text.contains(" offset "),
        "an offset isn't divided here: {text}"
    );
    let mut pieces = text.split('[');
    let mut done = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (range, rest) = piece
            .split_once(']')
            .with_context(|| format!("a bracket isn't closed: {text}"))?;
        done.push_str(&format!("[{}]{rest}", divided(range)?));
    }
    Ok(done)
}

/// A duration as Prometheus writes it, divided.
fn divided(duration: &str) -> Result<String> {
    let mut milliseconds = 0;
    let mut rest = duration;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit());
        let (unit, next) = unit.split_at(end.unwrap_or(unit.len()));
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => bail!("`{duration}` is no duration"),
        };
        let number: u64 = number
            .parse()
            .with_context(|| format!("`{duration}` is no duration"))?;
        milliseconds += number * factor;
        rest = next;
    }
    ensure!(
        milliseconds >= HASTE,
        "`{duration}` is too short to be divided"
    );
    Ok(format!("{}ms", milliseconds / HASTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_divided() {
        let shortened = |text: &str| divided(text).ok();
        assert_eq!(shortened("1h"), Some("60000ms".to_owned()));
        assert_eq!(shortened("1m30s"), Some("1500ms".to_owned()));
        assert_eq!(shortened("30s"), Some("500ms".to_owned()));
        for wrong in ["", "5", "m", "5m:1m", "5 m", "a-z", "1y", "0s"] {
            assert_eq!(shortened(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn thresholds_and_labels_stay() {
        let expr = "a - time() < 90 * 86400 or increase(b{code=~\"5..\"}[15m]) > 3";
        let wanted = "a - time() < 90 * 86400 or increase(b{code=~\"5..\"}[15000ms]) > 3";
        assert_eq!(expression(expr).ok().as_deref(), Some(wanted));
        assert!(expression("rate(a[5m] offset 1h)").is_err());
        assert!(expression("a{b=~\"[0-9]+\"}").is_err());
    }

    #[test]
    fn a_rule_keeps_everything_else() {
        let text = "groups: [{name: g, interval: 1m, rules: [{alert: A, expr: \"up == 0\", for: 2m, labels: {a: 2m}}]}]";
        let wanted = "groups: [{name: g, interval: 1000ms, rules: [{alert: A, expr: \"up == 0\", for: 2000ms, labels: {a: 2m}}]}]";
        let parsed = |text: &str| -> Value { serde_norway::from_str(text).unwrap() };
        assert_eq!(parsed(&rules(text).unwrap()), parsed(wanted));
    }
}
