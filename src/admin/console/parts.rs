//! Small things that several pages show: times, sizes, states, pictures.

use maud::{Markup, html};

use crate::admin::deliveries::{Delivery, State};
use crate::admin::time::{self, rfc3339};
use crate::event::Stored;

/// Width and height of a picture, in its own units.
const PICTURE: (f64, f64) = (240.0, 36.0);

/// A duration in a word or two.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Bytes in the largest unit that leaves a digit before the point.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A rate or another small figure; a dash where there is none.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => number(value.round() as u64),
        Some(value) if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// Seconds as milliseconds.
pub fn millis(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{:.1} ms", seconds * 1000.0))
}

/// A share of a whole in per cent.
pub fn share(part: u64, whole: u64) -> String {
    match part as f64 / whole.max(1) as f64 * 100.0 {
        0.0 => "0 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// The last value of a series.
pub fn last(values: &[Option<f64>]) -> Option<f64> {
    values.last().copied().flatten()
}

/// The time of day, before it the date where that is not today's, and the whole time beside it.
pub fn clock(ms: u64, now_ms: u64) -> Markup {
    let whole = rfc3339(ms);
    let (date, clock) = whole.trim_end_matches('Z').split_once('T').unwrap_or_default();
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let is_today = rfc3339(now_ms).starts_with(date);
    html! {
        time datetime=(whole) title=(format!("{date} {seconds}.{fraction:0<3} UTC")) {
            @if is_today { (seconds) "." (format!("{fraction:0<3}")) } @else { (date) " " (seconds) }
        }
    }
}

/// A position without its zeros.
pub fn position(sequence: u64) -> Markup {
    html! { a.mono href=(format!("/events/{sequence}")) { (sequence) } }
}

/// A state as a coloured word.
pub fn state(word: &str) -> Markup {
    let class = match word {
        "up" | "open" | "delivered" => "good",
        "down" | "closed" | "dead letter" => "bad",
        "paused" | "full" | "waiting" => "warn",
        _ => "idle",
    };
    html! { span.pill.(class) { (word) } }
}

/// A series as a small picture, from 0 to its highest value.
pub fn picture(values: &[Option<f64>], what: &str) -> Markup {
    let (width, height) = PICTURE;
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let step = width / (values.len().max(2) - 1) as f64;
    let mut lines: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (at, value) in values.iter().enumerate() {
        match (value, lines.last_mut()) {
            (Some(value), Some(line)) => {
                let y = if most > 0.0 { height - 2.0 - value / most * (height - 4.0) } else { height - 2.0 };
                line.push((at as f64 * step, y));
            }
            _ => lines.push(Vec::new()),
        }
    }
    let said = format!("{what}, last hour: highest {}, now {}", figure(Some(most)), figure(last(values)));
    html! {
        svg.picture viewBox=(format!("0 0 {width} {height}")) preserveAspectRatio="none" role="img" aria-label=(said) {
            title { (said) }
            @for line in lines.iter().filter(|line| !line.is_empty()) {
                @let points = ends(line, step).iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
                @let (from, to) = (line[0].0, line[line.len() - 1].0);
                polygon.area points=(format!("{from:.1},{height} {points} {to:.1},{height}")) {}
                polyline.line points=(points) {}
            }
        }
    }
}

/// The points of a line; one alone, between gaps, becomes a short line.
fn ends(line: &[(f64, f64)], step: f64) -> Vec<(f64, f64)> {
    match line {
        [(x, y)] => vec![(x - step.min(4.0) / 2.0, *y), (x + step.min(4.0) / 2.0, *y)],
        line => line.to_vec(),
    }
}

/// Rows of a table of events: when, what, which, how it was proved, where it is.
pub fn event_row(stored: &Stored, deliveries: &[Delivery], now_ms: u64) -> Markup {
    let event = &stored.envelope;
    html! {
        tr data-sequence=(stored.sequence) {
            td { (clock(recorded(stored), now_ms)) }
            td { (position(stored.sequence)) }
            td { a href=(format!("/events?source={}", event.source)) { (event.source) } }
            td.wide { (event.kind) }
            td.mono.cut title=(event.id) { (event.id) }
            td.quiet { (event.verification) }
            td {
                @for delivery in deliveries.iter().filter(|delivery| delivery.state != State::NotRouted) { (chip(delivery)) }
            }
            td.right.quiet { (age(stored)) }
        }
    }
}

/// One backend of an event: what has become of it there, and how long it took.
fn chip(delivery: &Delivery) -> Markup {
    let class = match delivery.state {
        State::Delivered => "good",
        State::Waiting => "warn",
        State::DeadLetter => "bad",
        State::NotRouted => "idle",
    };
    let said =
        [delivery.state.label(), &delivery.detail].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    html! {
        span.chip.(class) title=(said.join(": ")) {
            (delivery.backend) span.hidden { " " (delivery.state.label()) }
            @if let Some(seconds) = delivery.seconds { " " span.took title="from its receipt to the broker's confirmation" { (took(seconds)) } }
        }
    }
}

/// A time that something took, seconds.
pub fn took(seconds: f64) -> String {
    match seconds {
        0.0..1.0 => format!("{:.0} ms", seconds * 1000.0),
        1.0..60.0 => format!("{seconds:.1} s"),
        _ => span(seconds as u64),
    }
}

/// Heads of the columns of [`event_row`].
pub fn event_heads() -> Markup {
    html! {
        tr {
            th { "Received" } th { "Position" } th { "Source" } th { "Type" } th { "Id" } th { "Proved by" } th title="with the time from receipt to the broker's confirmation" { "Backends" }
            th.right title="from the sender's own time of the event to its receipt" { "Age at receipt" }
        }
    }
}

/// How old an event was when it came; nothing where its sender gave no time.
pub fn age(stored: &Stored) -> String {
    let event = &stored.envelope;
    if event.time == event.recorded_time {
        return String::new();
    }
    match (time::parse(&event.time), recorded(stored)) {
        (Some(sent), recorded) if recorded >= sent => match recorded - sent {
            ms @ 0..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
            ms => span(ms / 1000),
        },
        _ => String::new(),
    }
}

fn recorded(stored: &Stored) -> u64 {
    crate::admin::search::recorded_ms(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([span(5), span(65), span(3_700), span(90_000)], ["5 s", "1 min 05 s", "1 h 01 min", "1 d 1 h"]);
        assert_eq!([size(1), size(1536), size(64 << 20)], ["1 B", "1.5 KiB", "64.0 MiB"]);
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            [figure(None), figure(Some(0.04)), figure(Some(12.3)), figure(Some(1234.0))],
            ["–", "0.0", "12", "1\u{202f}234"]
        );
        assert_eq!([took(0.0), took(0.0124), took(1.55), took(75.0)], ["0 ms", "12 ms", "1.6 s", "1 min 15 s"]);
        assert_eq!([share(0, 0), share(1, 3), share(1, 100_000)], ["0 %", "33.3 %", "< 0.1 %"]);
    }

    #[test]
    fn a_picture_has_gaps_where_figures_are_missing() {
        let drawn = picture(&[Some(0.0), Some(1.0), None, Some(2.0), Some(2.0)], "rate").into_string();
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(!picture(&[], "rate").into_string().contains("NaN"));
    }
}
