//! How the status page writes text, figures and times.

use jiff::{SignedDuration, Timestamp};
use std::fmt::{self, Display, Write};
use std::time::Duration;

/// What stands where nothing was measured.
pub(super) const ABSENT: &str = "<span class=\"absent\" title=\"not measured\">–</span>";

/// Writes any text so that HTML shows it and does nothing else with it, inside an element and inside
/// a quoted attribute. Control characters and those that turn the direction of writing are replaced.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                '\n' | '\t' => self.0.write_char(c)?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    self.0.write_char('\u{fffd}')?
                }
                c if c.is_control() => self.0.write_char('\u{fffd}')?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// At most this many characters of a text, and a word about the rest.
pub(super) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => {
            let (head, tail) = text.split_at(end);
            format!("{head} … ({} more characters)", tail.chars().count())
        }
    }
}

/// Rounds to three significant digits.
fn round(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// A figure with three significant digits: `0.123`, `4.50`, `67.8`, `901`.
pub(super) fn figure(value: f64) -> String {
    let rounded = round(value);
    if rounded == 0.0 || !rounded.is_finite() {
        return rounded.to_string();
    }
    let decimals = (2.0 - rounded.abs().log10().floor()).clamp(0.0, 6.0);
    format!("{rounded:.*}", decimals as usize)
}

/// A latency in HTML: milliseconds below one second, seconds above.
pub(super) fn latency(value: Duration) -> String {
    let milliseconds = value.as_secs_f64() * 1e3;
    let (value, unit) = match round(milliseconds) < 1e3 {
        true => (milliseconds, "ms"),
        false => (value.as_secs_f64(), "s"),
    };
    format!("{}<small> {unit}</small>", figure(value))
}

/// A span as people say it: `12 s`, `3 min`, `5 h 12 min`, `3 d 4 h`. Its sign is dropped.
pub(super) fn span(value: SignedDuration) -> String {
    let seconds = value.as_secs().unsigned_abs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |large: String, rest: u64, unit: &str| match rest {
        0 => large,
        rest => format!("{large} {rest} {unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => with(format!("{hours} h"), minutes % 60, "min"),
        _ => with(format!("{days} d"), hours % 24, "h"),
    }
}

/// The instant in full: `2026-01-02 03:04:05 UTC`.
pub(super) fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `12 s ago` in HTML, with the instant in full as its tooltip.
pub(super) fn ago(now: Timestamp, at: Timestamp) -> String {
    let passed = now.duration_since(at);
    let text = match passed.as_secs() {
        ..1 => "just now".to_owned(),
        _ => format!("{} ago", span(passed)),
    };
    format!("<time title=\"{}\">{text}</time>", utc(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_peer_stays_text() {
        let hostile = "<script>alert('a&b')</script>\"\u{202e}\u{0}";
        assert_eq!(
            Escaped(hostile).to_string(),
            "&lt;script&gt;alert(&#39;a&amp;b&#39;)&lt;/script&gt;&quot;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn figures_have_three_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.012_345, "0.0123"),
            (0.999_6, "1.00"),
            (4.5, "4.50"),
            (67.89, "67.9"),
            (99.96, "100"),
            (901.4, "901"),
            (1234.0, "1230"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn latencies_are_milliseconds_below_a_second() {
        for (micros, text) in [
            (512, "0.512<small> ms</small>"),
            (87_300, "87.3<small> ms</small>"),
            (999_400, "999<small> ms</small>"),
            (999_600, "1.00<small> s</small>"),
            (12_340_000, "12.3<small> s</small>"),
        ] {
            assert_eq!(latency(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn spans_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (179, "2 min"),
            (3600, "1 h"),
            (18_720, "5 h 12 min"),
            (273_700, "3 d 4 h"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn an_instant_carries_its_full_form() {
        let at = Timestamp::from_second(1_767_323_045).unwrap();
        let now = at + SignedDuration::from_secs(12);
        assert_eq!(
            ago(now, at),
            "<time title=\"2026-01-02 03:04:05 UTC\">12 s ago</time>"
        );
        assert_eq!(
            ago(at, now),
            "<time title=\"2026-01-02 03:04:17 UTC\">just now</time>"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 2), "äö … (2 more characters)");
    }
}
