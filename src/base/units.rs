//! Durations and ratios as people write them in configuration files.

use std::time::Duration;

/// Units of [`parse_duration`], longest name first where one is another's prefix.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

/// Why a text is not a duration or a ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("not a duration such as `500ms`, `30s`, `1h30m` or `30d`")]
    Duration,
    /// Not a ratio.
    #[error("not a ratio such as `99.9%` or `0.999`")]
    Ratio,
}

/// Reads `800ms`, `1.5s`, `1h30m`, `30d`: one or more numbers, each with its unit
/// (ns, us, ms, s, m, h, d). `0` alone needs no unit.
///
/// # Errors
/// When a number has no unit, a unit is unknown, or the value does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(UnitError::Duration);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_len = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(UnitError::Duration)?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let value: f64 = number.parse().map_err(|_| UnitError::Duration)?;
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(UnitError::Duration)?;
        seconds += value * factor;
        rest = next;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| UnitError::Duration)
}

/// Writes a duration so that [`parse_duration`] reads the same value back: `1h30m`, `800ms`.
pub fn format_duration(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let steps: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    for (unit, size) in steps {
        let count = nanos / size;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            nanos %= size;
        }
    }
    out
}

/// Reads `99.9%` or `0.999` as a ratio from 0 to 1.
///
/// # Errors
/// When the text is neither, or the ratio lies outside 0 to 1.
pub fn parse_ratio(text: &str) -> Result<f64, UnitError> {
    let text = text.trim();
    let ratio = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|value| value / 100.0),
        None => text.parse::<f64>(),
    };
    match ratio {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(UnitError::Ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("800ms", 800),
            ("1.5s", 1500),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "5", "s", "5 parsecs", "1e9s", "-3s", "1..2s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_duration_reads_back_as_itself() {
        for nanos in [1, 999, 1_000_000, 1_500_000_000, 5_400_000_000_000] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn ratios_come_in_percent_or_plain() {
        assert_eq!(parse_ratio("99%"), Ok(0.99));
        assert_eq!(parse_ratio("0.5"), Ok(0.5));
        for text in ["101%", "-1", "NaN", "many"] {
            assert!(parse_ratio(text).is_err(), "{text}");
        }
    }
}
