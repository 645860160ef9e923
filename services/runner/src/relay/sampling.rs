//! OpenTelemetry's standard variables, as upstream's components are told them.

const WHOLE: f64 = 1_000_000.0;

/// How many of a million requests without a parent upstream's components trace: what `OTEL_TRACES_SAMPLER` and
/// `OTEL_TRACES_SAMPLER_ARG` say for this process.
pub(super) fn per_million() -> u32 {
    let variable = |name| std::env::var(name).unwrap_or_default();
    parse(
        &variable("OTEL_TRACES_SAMPLER"),
        &variable("OTEL_TRACES_SAMPLER_ARG"),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and a million"
)]
fn parse(sampler: &str, argument: &str) -> u32 {
    let ratio: f64 = match sampler {
        "always_off" | "parentbased_always_off" => 0.0,
        "traceidratio" | "parentbased_traceidratio" => argument.parse().unwrap_or(1.0),
        _ => 1.0,
    };
    (ratio.clamp(0.0, 1.0) * WHOLE).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_samples_as_we_do() {
        for (sampler, argument, expected) in [
            ("", "", 1_000_000),
            ("parentbased_always_on", "0.1", 1_000_000),
            ("parentbased_always_off", "", 0),
            ("parentbased_traceidratio", "0.25", 250_000),
            ("traceidratio", "7", 1_000_000),
            ("traceidratio", "-1", 0),
            ("traceidratio", "nonsense", 1_000_000),
        ] {
            assert_eq!(parse(sampler, argument), expected, "{sampler} {argument}");
        }
    }
}
