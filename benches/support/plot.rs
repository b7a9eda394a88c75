//! Figures drawn as SVG beside the benchmarks, by hand: a few bars and lines need no library.

use std::fmt;
use std::fmt::Write as _;

use super::figures::{median, quantile};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 240.0;
const COLOURS: [&str; 9] =
    ["#9aa5b1", "#6b7785", "#3e4c59", "#7cc4fa", "#2186eb", "#0b4f9c", "#f7c948", "#de911d", "#8d5a0b"];

/// One ratio to a limit: the median of its rounds and how far they lay apart.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) ratio: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) goal: f64,
}

impl Bar {
    pub(crate) fn of(name: String, ratios: &[f64], goal: f64) -> Self {
        let [least, most] = [0.0, 1.0].map(|share| quantile(ratios, share));
        Self { name, ratio: median(ratios), least, most, goal }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ratio, least, most, goal } = self;
        write!(f, "{name:32} ratio {ratio:.3} ({least:.3} to {most:.3}), goal {goal:.2}")
    }
}

/// One line of a chart, its points from left to right.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Writes a chart to `benches/{name}.svg`.
pub(crate) fn write(name: &str, svg: &str) {
    std::fs::write(format!("{}/benches/{name}.svg", env!("CARGO_MANIFEST_DIR")), svg).unwrap();
}

/// A bar for each ratio, its spread as a thin line, its goal as a mark.
pub(crate) fn ratios(title: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.most.max(bar.goal)).fold(1.0, f64::max);
    let x = |ratio: f64| LEFT + ratio / longest * (WIDTH - LEFT - 70.0);
    let mut drawn = String::new();
    for (bar, row) in bars.iter().zip(0..) {
        let y = 50.0 + 36.0 * f64::from(row);
        let colour = if bar.ratio >= bar.goal { "#2186eb" } else { "#de911d" };
        let (end, middle, [least, most, goal]) = (x(bar.ratio), y + 10.0, [bar.least, bar.most, bar.goal].map(x));
        text(&mut drawn, LEFT - 8.0, y + 14.0, "end", &bar.name);
        let _ = writeln!(drawn, r#"<rect x="{LEFT}" y="{y}" width="{:.1}" height="20" fill="{colour}"/>"#, end - LEFT);
        let _ = writeln!(drawn, r##"<path d="M{least:.1} {middle}H{most:.1}" stroke="#1f2933"/>"##);
        let _ = writeln!(drawn, r##"<path d="M{goal:.1} {}v28" stroke="#ba2525" stroke-width="2"/>"##, y - 4.0);
        text(&mut drawn, most.max(end).max(goal) + 6.0, y + 14.0, "start", &format!("{:.2}", bar.ratio));
    }
    let height = 80.0 + 36.0 * f64::from(u32::try_from(bars.len()).unwrap());
    text(&mut drawn, LEFT, height - 12.0, "start", "red: the goal; thin line: least and most of all rounds");
    framed(title, height, &drawn)
}

/// Lines over logarithmic axes: rates, sizes and times differ by powers of ten.
pub(crate) fn lines(title: &str, across: &str, upwards: &str, lines: &[Line]) -> String {
    let (top, bottom, left, right) = (50.0, 330.0, 80.0, 520.0);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let all: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(of).collect();
        (quantile(&all, 0.0).log10(), quantile(&all, 1.0).log10())
    };
    let (columns, rows) = (bounds(|point| point.0), bounds(|point| point.1));
    let (lowest, highest) = (rows.0.floor(), rows.1.ceil());
    let x = |value: f64| left + (value.log10() - columns.0) / (columns.1 - columns.0) * (right - left);
    let y = |value: f64| bottom - (value.log10() - lowest) / (highest - lowest) * (bottom - top);
    let mut drawn = String::new();
    let mut tick = 10_f64.powf(lowest);
    while tick.log10() <= highest + 1e-9 {
        let at = y(tick);
        let _ = writeln!(drawn, r##"<path d="M{left} {at:.1}H{right}" stroke="#e4e7eb"/>"##);
        text(&mut drawn, left - 8.0, at + 4.0, "end", &format!("{tick}"));
        tick *= 10.0;
    }
    for (value, _) in lines.iter().take(1).flat_map(|line| &line.points) {
        text(&mut drawn, x(*value), bottom + 18.0, "middle", &format!("{value}"));
    }
    for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(0..) {
        let points: Vec<_> = line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let points = points.join(" ");
        let _ = writeln!(drawn, r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
        let at = top + 20.0 * f64::from(row);
        let _ = writeln!(drawn, r#"<path d="M{} {at}h20" stroke="{colour}" stroke-width="3"/>"#, right + 14.0);
        text(&mut drawn, right + 40.0, at + 4.0, "start", &line.name);
    }
    text(&mut drawn, f64::midpoint(left, right), bottom + 38.0, "middle", across);
    text(&mut drawn, left - 8.0, top - 14.0, "end", upwards);
    framed(title, 390.0, &drawn)
}

fn framed(title: &str, height: f64, drawn: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let _ = writeln!(svg, r#"<text x="{}" y="24" text-anchor="middle" font-size="15">{title}</text>"#, WIDTH / 2.0);
    svg + drawn + "</svg>\n"
}

fn text(drawn: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(drawn, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}
