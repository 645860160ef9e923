//! A process that exports nothing.

use sextant_kit::config::Common;

/// Regression: every span of every library was made, kept for nobody and forgotten.
#[tokio::test]
async fn without_export_no_span_is_made() -> Result<(), sextant_kit::Error> {
    let _telemetry = sextant_kit::telemetry::init("test", &Common::default())?;
    assert!(tracing::info_span!("of nobody").is_disabled());
    assert!(!tracing::event_enabled!(tracing::Level::DEBUG));
    assert!(tracing::event_enabled!(tracing::Level::INFO));
    Ok(())
}
