//! What the program did, on stderr: `-v`, or `STILLCORE_LOG`.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Levels (`debug`), or levels of modules (`stillcore_corefile=trace,info`). It wins over `-v`.
const VARIABLE: &str = "STILLCORE_LOG";

/// Sets the logging up: nothing but warnings, `-v` info, `-vv` debug, `-vvv` trace.
pub fn start(verbose: u8) -> Result<(), String> {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text
            .parse::<Targets>()
            .map_err(|error| format!("{VARIABLE} is '{text}': {error}"))?,
        _ => Targets::new().with_default(level),
    };
    // Colours are left to what has nothing from a core in it; strings are escaped by tracing-subscriber.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // A program that calls `run` twice has it already.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
    Ok(())
}
