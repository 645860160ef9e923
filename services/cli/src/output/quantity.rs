//! Sizes, rates and short times in few characters.

/// `0 B`, `12.0 MiB`: three digits, in powers of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        // What would be shown as 1024 is one of the next unit.
        if value < 1023.5 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{} {unit}", three_digits(value))
}

/// So many per second: `0`, `0.25`, `12.5`, `1.20k`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        value if value < 0.005 => "0".to_owned(),
        value if value < 999.5 => three_digits(value),
        value if value < 999_500.0 => format!("{}k", three_digits(value / 1e3)),
        value => format!("{}M", three_digits(value / 1e6)),
    }
}

/// A time of at most some minutes: `850 µs`, `12.5 ms`, `1.20 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    match seconds {
        value if value < 0.000_999_5 => format!("{} µs", three_digits(value * 1e6)),
        value if value < 0.999_5 => format!("{} ms", three_digits(value * 1e3)),
        value => format!("{} s", three_digits(value)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_three_digits_and_the_unit_that_fits() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (12 << 20, "12.0 MiB"),
            ((1 << 30) - 1, "1.00 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (999.9, "1.00k"),
            (2.5e6, "2.50M"),
        ] {
            assert_eq!(rate(value), text);
        }
        for (value, text) in [
            (0.000_85, "850 µs"),
            (0.0125, "12.5 ms"),
            (0.9999, "1.00 s"),
            (30.0, "30.0 s"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }

    proptest! {
        #[test]
        fn stays_short(count in any::<u64>(), value in 0.0..1e8_f64) {
            prop_assert!(bytes(count).len() <= 9);
            prop_assert!(rate(value).len() <= 5);
            prop_assert!(seconds(value / 1e6).chars().count() <= 7);
        }
    }
}
