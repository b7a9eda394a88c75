//! What the process tells its operator: logs, metrics and the place of a panic.
//!
//! **Logs** go to stderr, so that stdout belongs to the start banner and the console sender: JSON
//! lines when stderr is not a terminal, text otherwise, times in UTC (RFC 3339). A message is a
//! sentence that stands alone; fields are for search and are named by entity:
//!
//! | field | what it holds |
//! | --- | --- |
//! | `tenant.slug` | the tenant's public name |
//! | `account.id` `session.id` `device.id` `challenge.id` | UUIDs; the person, never how they are reached |
//! | `request.id` | what the answer's `X-Request-Id` says |
//! | `http.route` `http.method` `http.status` | the route's pattern, never the path as asked (it may hold a link's token) |
//! | `message.id` `message.channel` `message.template` | a row of the outbox, `sms` or `email`, its kind |
//! | `sender.name` `sender.stage` | which sender, and how far it came |
//! | `lock.id` `limit.name` `shed.reason` | a lockout, a named limit, why work was refused |
//! | `error` | what went wrong, with its causes |
//! | `panic.place` `panic.thread` | file and line; the payload is not logged, it may cite a value |
//!
//! Never logged, at any level: passwords, codes, tokens, keys, cookies, bodies, query strings,
//! e-mail addresses, phone numbers, provider credentials.
//!
//! **Metrics** are kept by one recorder for the whole process, whatever number of gateways runs in
//! it. Labels take few values: a route's pattern, never a tenant's account or an address.

use std::error::Error;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Counter: argon2 runs, real or decoy, for admitted log-in attempts.
pub const PASSWORD_VERIFICATIONS: &str = "guichet_password_verifications_total";
/// Counter: codes compared with the right one.
pub const CODE_COMPARISONS: &str = "guichet_code_comparisons_total";
/// Gauge: account actors in memory.
pub const RESIDENT_ACCOUNTS: &str = "guichet_resident_accounts";
/// Gauge: hashes waiting for a thread.
pub const HASH_QUEUE_DEPTH: &str = "guichet_hash_queue_depth";
/// Gauge: messages not yet settled.
pub const OUTBOX_DEPTH: &str = "guichet_outbox_depth";
/// Gauge: age of the oldest unsettled message, in seconds.
pub const OUTBOX_OLDEST_SECONDS: &str = "guichet_outbox_oldest_seconds";
/// Counter: messages sent in built-in words because the tenant's own could not be used.
pub const TEMPLATE_FALLBACKS: &str = "guichet_template_fallbacks_total";
/// Counter: messages sent in built-in words because the tenant's own are in another language only.
pub const TEMPLATE_LOCALE_MISSING: &str = "guichet_template_locale_missing_total";
/// Counter: attempts at messages. Labels: `channel`, `state` (what became of it).
pub const DELIVERIES: &str = "guichet_deliveries_total";
/// Counter: messages given up, for whatever reason. Label: `channel`.
pub const MESSAGES_DEAD: &str = "guichet_messages_dead_total";
/// Counter: requests. Labels: `route` (its pattern), `method`, `status` (499: the client left before
/// its answer).
pub const HTTP_REQUESTS: &str = "guichet_http_requests_total";
/// Histogram: seconds from a request's headers to its answer or its client's leaving. Labels: `route`,
/// `method`. Answers told from memory (token checks, certain refusals) are counted and not timed.
pub const HTTP_REQUEST_SECONDS: &str = "guichet_http_request_seconds";
/// Gauge: open connections, both listeners.
pub const CONNECTIONS: &str = "guichet_connections";
/// Gauge: seconds since the revocations that tokens are judged by were last read whole.
pub const REVOCATION_AGE_SECONDS: &str = "guichet_revocation_age_seconds";
/// Counter: work refused to protect the rest. Label: `reason`.
pub const SHED: &str = "guichet_shed_total";
/// Counter: requests with an admin key that is not good.
pub const ADMIN_KEYS_REFUSED: &str = "guichet_admin_keys_refused_total";

/// Counter: requests refused by a limit. Labels: `limit`, `by` (`node`: from memory; `store`).
pub const LIMIT_REFUSALS: &str = "guichet_limit_refusals_total";
/// Counter: requests over a limit that only records. Label: `limit`.
pub const LIMIT_RECORDED: &str = "guichet_limit_recorded_total";
/// Counter: limits per client not asked, since the client's address was not known.
pub const LIMITS_SKIPPED: &str = "guichet_limits_skipped_total";
/// Counter: requests whose limits this node judged alone, the store being away.
pub const LIMITS_WITHOUT_STORE: &str = "guichet_limits_without_store_total";
/// Counter: password spraying noticed.
pub const SPRAYS: &str = "guichet_sprays_total";
/// Counter: messages that were not sent to save money or a recipient. Label: `reason`.
pub const SENDS_WITHHELD: &str = "guichet_sends_withheld_total";
/// Counter: messages sent though over a ceiling that only records. Label: `reason`.
pub const SENDS_OVER_BUDGET: &str = "guichet_sends_over_budget_total";
/// Counter: codes asked for or answered by test identities.
pub const TEST_IDENTITY_USES: &str = "guichet_test_identity_uses_total";

/// Upper bounds of [`HTTP_REQUEST_SECONDS`]: from a cached token check to the request deadline.
const REQUEST_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Levels of libraries, unless the filter names them. ractor opens a span per actor at `info` (0.4 KB
/// for every resident account); the others would, at `trace`, print what passes through them:
/// headers, statements, addresses.
const QUIET: [(&str, &str); 7] = [
    ("ractor", "warn"),
    ("sqlx", "warn"),
    ("hyper", "info"),
    ("hyper_util", "info"),
    ("h2", "info"),
    ("rustls", "info"),
    ("mio", "info"),
];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Reads a filter: a level, or directives in the syntax of `RUST_LOG`.
///
/// # Errors
/// [`ParseError`] if a directive is not one.
pub fn parse_filter(text: &str) -> Result<EnvFilter, ParseError> {
    let quiet = QUIET.iter().filter(|(target, _)| !text.contains(target));
    let mut directives: Vec<String> = quiet.map(|(target, level)| format!("{target}={level}")).collect();
    directives.push(text.to_owned());
    directives.join(",").parse()
}

/// Starts logging for the whole process, the place of every panic included. For `main` only: a
/// second call, or one where a logger is set, changes nothing.
///
/// # Errors
/// [`ParseError`] if `filter` is no filter.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    // A line that cannot be written is lost: to complain of it there would panic, and end the process.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(filter)?)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let started = if json {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// An error with all its causes, outermost first: `storage is out of reach: Connection refused`.
/// What a text already ends with is not said again.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        next = cause.source();
    }
    text
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(panic.place = place, panic.thread = thread, "a panic: guichet has a fault here");
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The process's recorder, installed at the first call; every later call gives the same.
    #[must_use]
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        INSTALLED.get_or_init(Self::install_once).clone()
    }

    fn install_once() -> Self {
        let builder = PrometheusBuilder::new();
        let seconds = Matcher::Full(HTTP_REQUEST_SECONDS.to_owned());
        let builder = builder.set_buckets_for_metric(seconds, &REQUEST_SECONDS);
        // Only an empty list of buckets is refused; the default is a summary instead.
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder was installed before ours: /metrics will stay empty");
        }
        describe();
        show_from_the_start();
        Self(handle)
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds recent observations into their buckets. Call it every few seconds: without it they
    /// pile up for as long as nobody asks for [`Metrics::render`].
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// A counter that appears only with its first event looks broken, and rates over it are wrong.
fn show_from_the_start() {
    for name in [
        PASSWORD_VERIFICATIONS,
        CODE_COMPARISONS,
        LIMITS_SKIPPED,
        LIMITS_WITHOUT_STORE,
        SPRAYS,
        TEMPLATE_FALLBACKS,
        TEMPLATE_LOCALE_MISSING,
    ] {
        metrics::counter!(name).absolute(0);
    }
    for name in [RESIDENT_ACCOUNTS, HASH_QUEUE_DEPTH, OUTBOX_DEPTH, OUTBOX_OLDEST_SECONDS] {
        metrics::gauge!(name).set(0.0);
    }
}

fn describe() {
    describe_counter!(PASSWORD_VERIFICATIONS, "Argon2 runs, real or decoy, for admitted log-in attempts.");
    describe_counter!(CODE_COMPARISONS, "Codes compared with the right one.");
    describe_gauge!(RESIDENT_ACCOUNTS, "Account actors in memory.");
    describe_gauge!(HASH_QUEUE_DEPTH, "Hashes waiting for a thread.");
    describe_gauge!(OUTBOX_DEPTH, "Messages not yet settled.");
    describe_gauge!(OUTBOX_OLDEST_SECONDS, Unit::Seconds, "Age of the oldest message not yet settled.");
    describe_counter!(TEMPLATE_FALLBACKS, "Messages in built-in words because the tenant's own could not be used.");
    describe_counter!(TEMPLATE_LOCALE_MISSING, "Messages in built-in words for want of the tenant's in that language.");
    describe_counter!(DELIVERIES, "Attempts at messages, by what became of them.");
    describe_counter!(MESSAGES_DEAD, "Messages given up.");
    describe_counter!(HTTP_REQUESTS, "Requests; status 499 if the client left before its answer.");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "Time from a request's headers to its answer.");
    describe_gauge!(
        REVOCATION_AGE_SECONDS,
        Unit::Seconds,
        "Since the revocations that tokens are judged by were last read whole."
    );
    describe_gauge!(CONNECTIONS, "Open connections, both listeners.");
    describe_counter!(LIMIT_REFUSALS, "Requests refused by a limit.");
    describe_counter!(LIMIT_RECORDED, "Requests over a limit that only records.");
    describe_counter!(LIMITS_SKIPPED, "Limits per client not asked: no believable client address.");
    describe_counter!(LIMITS_WITHOUT_STORE, "Requests whose limits a node judged without the store.");
    describe_counter!(SPRAYS, "Password spraying noticed, per tenant and attack.");
    describe_counter!(ADMIN_KEYS_REFUSED, "Requests with an admin key that is not good.");
    describe_counter!(SHED, "Work refused to protect the rest.");
    describe_counter!(SENDS_WITHHELD, "Messages not sent, to save money or a recipient.");
    describe_counter!(SENDS_OVER_BUDGET, "Messages sent though over a ceiling that only records.");
    describe_counter!(TEST_IDENTITY_USES, "Codes asked for or answered by test identities.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_gateways_in_one_process_share_the_metrics() {
        let (one, other) = (Metrics::install(), Metrics::install());

        metrics::counter!(SHED, "reason" => "test").increment(1);
        metrics::histogram!(HTTP_REQUEST_SECONDS, "route" => "/test", "method" => "GET").record(0.003);
        one.upkeep();

        for metrics in [&one, &other] {
            assert!(metrics.render().contains(r#"guichet_shed_total{reason="test"} 1"#));
        }
        assert!(other.render().contains(r#"method="GET",le="0.005"} 1"#), "{}", other.render());
    }

    #[test]
    fn what_has_not_happened_yet_is_shown_too() {
        let shown = Metrics::install().render();

        for name in [PASSWORD_VERIFICATIONS, CODE_COMPARISONS, RESIDENT_ACCOUNTS, HASH_QUEUE_DEPTH, OUTBOX_DEPTH] {
            assert!(shown.contains(&format!("\n{name} ")), "{name} is missing:\n{shown}");
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store is away")]
        struct Away(#[source] std::io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("storage: {0}")]
        struct Start(#[source] Away);

        let error = Start(Away(std::io::Error::other("connection refused")));

        assert_eq!(causes(&error), "storage: the store is away: connection refused");
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(parse_filter("info,guichet::delivery=debug").is_ok());
        assert!(parse_filter("guichet=loud").is_err());
    }
}
