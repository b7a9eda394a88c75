//! What is told after a run: one summary, shown as a table, as JSON, and as one HTML file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use crate::limits::Held;
use crate::recorder::{Book, Second, Times};

/// Width and height of a chart's plot, in its own units.
const PLOT: (f64, f64) = (720.0, 160.0);

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Asked {
    pub(crate) scenario: String,
    pub(crate) url: String,
    /// Arrivals a second.
    pub(crate) rate: u32,
    pub(crate) seconds: f64,
    /// Arrivals in all.
    pub(crate) arrivals: u64,
    pub(crate) in_flight: u32,
    /// RFC 3339.
    pub(crate) started_at: String,
}

/// A run in figures; the JSON file is this.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) asked: Asked,
    /// Seconds from the first arrival to the end of the last.
    pub(crate) took: f64,
    /// Whether it was broken off.
    pub(crate) interrupted: bool,
    /// Arrivals that came to their end.
    pub(crate) sent: u64,
    /// … a second.
    pub(crate) achieved_rate: f64,
    /// Arrivals that were never sent, by reason.
    pub(crate) unsent: BTreeMap<&'static str, u64>,
    /// From when an arrival was due to the end of its last answer.
    pub(crate) arrival_ms: Quantiles,
    /// How late arrivals began: the load's own doing, or the server's that kept every place.
    pub(crate) late_ms: Quantiles,
    pub(crate) requests: Vec<Request>,
    /// Answers that were neither expected nor refusals, and requests without one.
    pub(crate) unexpected: u64,
    /// 429 and 503 where another answer was expected.
    pub(crate) refused: u64,
    /// In `limits`, unless it was broken off.
    pub(crate) limits: Option<Held>,
    #[serde(skip)]
    seconds: Vec<Second>,
}

/// One kind of request.
#[derive(Debug, Serialize)]
pub(crate) struct Request {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    /// A second.
    pub(crate) rate: f64,
    pub(crate) statuses: BTreeMap<String, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) refused: u64,
    pub(crate) refused_with_retry_after: u64,
    pub(crate) unexpected: u64,
    pub(crate) ms: Quantiles,
}

/// Milliseconds that expected answers took, and those that did not come in time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl From<&Times> for Quantiles {
    fn from(times: &Times) -> Self {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|quantile| times.at(quantile));
        Self { p50, p90, p99, p999, max: times.max() }
    }
}

/// A chart, as the template draws it.
#[derive(Debug, Serialize)]
struct Chart {
    title: &'static str,
    /// Seconds that it shows.
    seconds: usize,
    /// The value at the top.
    top: String,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    /// How it is drawn.
    class: &'static str,
    /// As SVG wants them.
    points: String,
}

impl Summary {
    /// Puts together what a run told.
    pub(crate) fn new(asked: Asked, took: Duration, book: Book, limits: Option<Held>) -> Self {
        let interrupted = book.sent + book.unsent.values().sum::<u64>() < asked.arrivals;
        // Nothing is sent after the window, however long the last answers take.
        let seconds = if interrupted { took.as_secs_f64().clamp(0.001, asked.seconds) } else { asked.seconds };
        let requests: Vec<_> = book
            .rows
            .into_iter()
            .map(|(name, row)| Request {
                name,
                count: row.count,
                rate: row.count as f64 / seconds,
                ms: Quantiles::from(&row.times),
                statuses: row.statuses,
                errors: row.errors,
                refused: row.refused,
                refused_with_retry_after: row.with_retry_after,
                unexpected: row.unexpected,
            })
            .collect();
        Self {
            took: took.as_secs_f64(),
            interrupted,
            sent: book.sent,
            achieved_rate: book.sent as f64 / seconds,
            unsent: book.unsent,
            arrival_ms: Quantiles::from(&book.arrivals),
            late_ms: Quantiles::from(&book.late),
            unexpected: requests.iter().map(|request| request.unexpected).sum(),
            refused: requests.iter().map(|request| request.refused).sum(),
            requests,
            limits,
            seconds: book.seconds,
            asked,
        }
    }
    /// Whether it went as it should: everything was sent, and no answer was wrong. A refusal is an answer.
    pub(crate) fn is_good(&self) -> bool {
        let held = self.limits.as_ref().is_none_or(|held| held.is_exact && held.retry_after_broken == 0);
        self.unexpected == 0 && self.unsent.is_empty() && held
    }

    /// For the terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{words}");
        };
        line(format_args!(
            "{:<22} {:>8} {:>8}  {:>8} {:>8} {:>8} {:>8} {:>8}  answers",
            "request", "count", "per s", "p50 ms", "p90", "p99", "p99.9", "max"
        ));
        for request in &self.requests {
            let Quantiles { p50, p90, p99, p999, max } = request.ms;
            line(format_args!(
                "{:<22} {:>8} {:>8.1}  {p50:>8.1} {p90:>8.1} {p99:>8.1} {p999:>8.1} {max:>8.1}  {}",
                request.name,
                request.count,
                request.rate,
                request.answers()
            ));
        }
        line(format_args!(
            "\n{} of {} arrivals, {:.1}/s of {}/s asked; begun late by p99 {:.1} ms, at most {:.1} ms",
            self.sent, self.asked.arrivals, self.achieved_rate, self.asked.rate, self.late_ms.p99, self.late_ms.max
        ));
        for (why, count) in &self.unsent {
            line(format_args!("{count} {why}"));
        }
        line(format_args!("{} unexpected, {} refused (429 or 503)", self.unexpected, self.refused));
        if let Some(held) = &self.limits {
            line(format_args!(
                "{}: {} passed, an exact limit passes {} to {}: {}",
                held.limit,
                held.admitted,
                held.exact_from,
                held.exact_to,
                if held.is_exact { "exact" } else { "NOT EXACT" }
            ));
            line(format_args!(
                "Retry-After waited out to the second: {} kept, {} broken",
                held.retry_after_kept, held.retry_after_broken
            ));
        }
        if self.interrupted {
            line(format_args!("broken off after {:.1} s: the figures are of that time only", self.took));
        }
        text
    }

    /// One HTML file that needs nothing else.
    pub(crate) fn html(&self) -> anyhow::Result<String> {
        let mut templates = Environment::new();
        templates
            .add_filter("ms", |value: f64| if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") });
        templates.add_filter("each", |value: f64| format!("{value:.1}"));
        templates.add_template("report.html", include_str!("report.html"))?;
        let page = context! {
            run => Serde(self),
            good => self.is_good(),
            charts => Serde([self.course(), self.latency()]),
        };
        Ok(templates.get_template("report.html")?.render(page)?)
    }

    fn course(&self) -> Chart {
        let of = |part: fn(&Second) -> u64| self.seconds.iter().map(|second| part(second) as f64).collect();
        Chart::of(
            "arrivals a second, by when they were due",
            &[
                ("good", "good", of(|second| second.good)),
                ("refused or failed", "bad", of(|second| second.bad)),
                ("not sent", "unsent", of(|second| second.unsent)),
            ],
        )
    }

    fn latency(&self) -> Chart {
        let of = |quantile| self.seconds.iter().map(|second| second.times.at(quantile)).collect();
        let slowest = self.seconds.iter().map(|second| second.times.max()).collect();
        Chart::of(
            "milliseconds an arrival took, by when it was due",
            &[("p50", "good", of(0.5)), ("p99", "unsent", of(0.99)), ("slowest", "bad", slowest)],
        )
    }
}

impl Request {
    fn answers(&self) -> String {
        let all: Vec<_> =
            self.statuses.iter().chain(&self.errors).map(|(what, count)| format!("{what}: {count}")).collect();
        all.join(", ")
    }
}

impl Chart {
    fn of(title: &'static str, lines: &[(&'static str, &'static str, Vec<f64>)]) -> Self {
        let top = lines.iter().flat_map(|(_, _, values)| values).fold(1.0_f64, |top, value| top.max(*value));
        let drawn = lines.iter().map(|(name, class, values)| {
            // A run of one second is a line all the same.
            let last = values.len().saturating_sub(1).max(1) as f64;
            let point = |(at, value): (usize, &f64)| {
                format!("{:.1},{:.1}", at as f64 / last * PLOT.0, PLOT.1 - value / top * PLOT.1)
            };
            Line { name, class, points: values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ") }
        });
        let seconds = lines.first().map_or(0, |(_, _, values)| values.len());
        Self { title, seconds, top: format!("{top:.0}"), lines: drawn.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{AskedFor, LIMIT, judge};
    use crate::recorder::{Arrival, Outcome, Recorder};

    fn asked(arrivals: u64) -> Asked {
        Asked {
            scenario: "mixed".to_owned(),
            url: "http://127.0.0.1:3000/".to_owned(),
            rate: 2,
            seconds: 2.0,
            arrivals,
            in_flight: 8,
            started_at: "2026-11-22T09:00:00Z".to_owned(),
        }
    }

    fn held(admitted: u64, probes: &[bool]) -> Held {
        let three = Duration::from_secs(3);
        judge(&LIMIT, AskedFor { least: three, most: three }, admitted, probes)
    }

    fn told() -> Book {
        let recorder = Recorder::default();
        let ms = Duration::from_millis;
        for (due, time, outcome, shown) in [
            (0, 10, Outcome::Expected, "200"),
            (500, 20, Outcome::Refused { with_retry_after: true }, "429 too_many_requests"),
            (1_000, 30, Outcome::Unexpected, "500 <internal>"),
        ] {
            let is_good = outcome == Outcome::Expected;
            recorder.request("log-in", ms(time), &Ok((outcome, shown.to_owned())));
            recorder.arrival(&Arrival { due: ms(due), late: ms(1), time: ms(time), is_good, is_timed: is_good });
        }
        recorder.unsent(ms(1_500), "not sent: nobody");
        recorder.told()
    }

    #[test]
    fn every_arrival_is_accounted_for() {
        let whole = Summary::new(asked(4), Duration::from_secs(5), told(), None);
        let broken_off = Summary::new(asked(9), Duration::from_secs(1), told(), None);

        assert_eq!((whole.sent, whole.unsent["not sent: nobody"], whole.interrupted), (3, 1, false));
        assert!((whole.achieved_rate - 1.5).abs() < 1e-9, "{}", whole.achieved_rate);
        assert!(broken_off.interrupted);
        assert!((broken_off.achieved_rate - 3.0).abs() < 1e-9, "{}", broken_off.achieved_rate);
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_wrong_one_is_a_fault() {
        let summary = Summary::new(asked(4), Duration::from_secs(2), told(), None);

        assert_eq!((summary.unexpected, summary.refused, summary.is_good()), (1, 1, false));
        for (admitted, probes, is_good) in [(26, vec![true], true), (30, vec![true], false), (26, vec![false], false)] {
            let held = held(admitted, &probes);
            let summary = Summary::new(asked(0), Duration::from_secs(2), Book::default(), Some(held));
            assert_eq!(summary.is_good(), is_good, "{admitted} {probes:?}");
        }
    }

    #[test]
    fn what_could_not_be_sent_is_a_fault() {
        let recorder = Recorder::default();
        recorder.unsent(Duration::ZERO, "not sent: nobody");

        let summary = Summary::new(asked(1), Duration::from_secs(2), recorder.told(), None);

        assert_eq!((summary.unexpected, summary.interrupted, summary.is_good()), (0, false, false));
    }

    #[test]
    fn the_table_shows_each_request_and_what_was_not_sent() {
        let table = Summary::new(asked(4), Duration::from_secs(2), told(), None).table();

        for part in [
            "log-in",
            "200: 1",
            "429 too_many_requests: 1",
            "3 of 4 arrivals",
            "1 not sent: nobody",
            "1 unexpected, 1 refused",
        ] {
            assert!(table.contains(part), "{part} in:\n{table}");
        }
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_the_server_said() {
        let page = Summary::new(asked(4), Duration::from_secs(2), told(), Some(held(26, &[true]))).html().unwrap();

        for part in ["log-in", "500 &lt;internal&gt;", "<svg", "26", "p99.9"] {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["<script", "<link", "src=", "@import", "<internal>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_figures_are_written_as_json() {
        let summary = Summary::new(asked(4), Duration::from_secs(2), told(), None);

        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();

        assert_eq!(json["requests"][0]["statuses"]["500 <internal>"], 1);
        assert_eq!(json["unexpected"], 1);
        assert_eq!(json["limits"], serde_json::Value::Null);
        assert!(json["requests"][0]["ms"]["p50"].as_f64().unwrap() > 9.0);
    }

    #[test]
    fn a_chart_fills_its_plot() {
        let chart = Chart::of("a", &[("b", "good", vec![0.0, 50.0, 100.0])]);

        assert_eq!((chart.top.as_str(), chart.lines[0].points.as_str()), ("100", "0.0,160.0 360.0,80.0 720.0,0.0"));
    }
}
