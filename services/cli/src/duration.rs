//! Durations as people write them (`30m`, `1h30m`, `7d`) and as they like to read them (`6d 4h`).
use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads `30s`, `30m`, `1h`, `7d` and sums of them, largest unit first or not.
///
/// # Errors
/// A sentence for the user when the text is no such duration, is zero, or is longer than a hundred years.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused = || format!("'{text}' is no duration: write it like 30m, 1h, 1h30m or 7d");
    let mut seconds: u64 = 0;
    let mut number: Option<u64> = None;
    for character in text.trim().chars() {
        if let Some(digit) = character.to_digit(10) {
            let grown = number
                .unwrap_or(0)
                .checked_mul(10)
                .and_then(|n| n.checked_add(digit.into()));
            number = Some(grown.ok_or_else(refused)?);
            continue;
        }
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == character)
            .ok_or_else(refused)?;
        let part = number
            .take()
            .and_then(|n| n.checked_mul(*unit))
            .ok_or_else(refused)?;
        seconds = seconds.checked_add(part).ok_or_else(refused)?;
    }
    if number.is_some() {
        return Err(refused());
    }
    match seconds {
        0 => Err(refused()),
        1..=3_153_600_000 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("'{text}' is longer than a hundred years")),
    }
}

/// The two largest units: `6d 4h`, `23h 59m`, `42s`. Less than a second is `0s`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut parts = Vec::with_capacity(2);
    for (name, unit) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
        // "1d 5s" says less than it seems to: the second part is the next smaller unit or none.
        if parts.len() == 2 || (parts.len() == 1 && count == 0) {
            break;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [
            ("45s", 45),
            ("30m", 1_800),
            ("1h30m", 5_400),
            ("7d", 604_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "0s",
            "10",
            "h",
            "1w",
            "-1h",
            "1.5h",
            "99999999999999999999d",
            "36501d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (42, "42s"),
            (86_399, "23h 59m"),
            (86_405, "1d"),
            (536_400, "6d 5h"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn sums_its_parts(d in 0u64..1000, h in 0u64..1000, m in 0u64..1000, s in 1u64..1000) {
            let text = format!("{d}d{h}h{m}m{s}s");
            let seconds = d * 86_400 + h * 3_600 + m * 60 + s;
            prop_assert_eq!(parse(&text), Ok(Duration::from_secs(seconds)));
        }

        #[test]
        fn never_fails_on_strange_text(text in ".*") {
            let _ = parse(&text);
        }
    }
}
