//! One field of a crontab expression, read as robfig/cron v3 reads it, which is what Kubernetes uses.

use super::{FieldProblem, ScheduleError};

/// What a field may hold.
#[derive(Debug)]
pub(super) struct FieldSpec {
    name: &'static str,
    min: u8,
    /// The greatest number that may be written.
    max: u8,
    /// Where `*` and `N/step` end. Below `max` where two numbers mean the same.
    last: u8,
    /// Names of the values from `min` on, in lower case.
    names: &'static [&'static str],
    allowed: &'static str,
}

pub(super) const SECOND: FieldSpec = FieldSpec {
    name: "second",
    min: 0,
    max: 59,
    last: 59,
    names: &[],
    allowed: "0 to 59",
};

pub(super) const MINUTE: FieldSpec = FieldSpec {
    name: "minute",
    ..SECOND
};

pub(super) const HOUR: FieldSpec = FieldSpec {
    name: "hour",
    min: 0,
    max: 23,
    last: 23,
    names: &[],
    allowed: "0 to 23",
};

pub(super) const DAY_OF_MONTH: FieldSpec = FieldSpec {
    name: "day of month",
    min: 1,
    max: 31,
    last: 31,
    names: &[],
    allowed: "1 to 31",
};

pub(super) const MONTH: FieldSpec = FieldSpec {
    name: "month",
    min: 1,
    max: 12,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    allowed: "1 to 12 or JAN to DEC",
};

/// The one field where we read more than Kubernetes does: 7, which every other crontab knows as Sunday.
pub(super) const DAY_OF_WEEK: FieldSpec = FieldSpec {
    name: "day of week",
    min: 0,
    max: 7,
    last: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    allowed: "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
};

const SUNDAY: u8 = 0;
const OTHER_SUNDAY: u8 = 7;

/// The values that a field selects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field {
    /// One bit for each.
    bits: u64,
    /// The field does not restrict anything: `*`, `?` or `*/1` is in it. What that means for the two day
    /// fields differs from naming every value.
    pub(super) unrestricted: bool,
    /// `*` or `?` is in it, stepped or not.
    pub(super) wildcard: bool,
}

impl Field {
    pub(super) fn contains(self, value: u8) -> bool {
        self.bits
            .checked_shr(u32::from(value))
            .is_some_and(|bits| bits & 1 == 1)
    }

    pub(super) fn values(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |value| self.contains(*value))
    }

    /// The field in its plainest form: `*` or a list of numbers.
    pub(super) fn to_plain(self) -> String {
        if self.unrestricted {
            return "*".to_owned();
        }
        let values: Vec<String> = self.values().map(|value| value.to_string()).collect();
        values.join(",")
    }
}

impl FieldSpec {
    pub(super) fn parse(&self, text: &str) -> Result<Field, ScheduleError> {
        let mut field = Field::default();
        // An empty list item selects nothing, as in robfig/cron.
        for part in text.split(',').filter(|part| !part.is_empty()) {
            self.add(part, &mut field)
                .map_err(|problem| self.error(part, problem))?;
        }
        if self.max == OTHER_SUNDAY && field.contains(OTHER_SUNDAY) {
            field.bits = field.bits & !(1 << OTHER_SUNDAY) | 1 << SUNDAY;
        }
        if field.bits == 0 {
            return Err(self.error(text, FieldProblem::Nothing));
        }
        Ok(field)
    }

    fn error(&self, part: &str, problem: FieldProblem) -> ScheduleError {
        ScheduleError::Field {
            field: self.name,
            part: part.to_owned(),
            problem,
            allowed: self.allowed,
        }
    }

    /// Adds `N`, `N-M`, `*` or one of them with a step.
    fn add(&self, part: &str, field: &mut Field) -> Result<(), FieldProblem> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step_size = match step {
            Some(step) if step.contains('/') => return Err(FieldProblem::Syntax),
            Some(step) => number(step)?,
            None => 1,
        };
        let (start, end) = match range.split_once('-') {
            _ if is_wildcard(range) => (self.min, self.last),
            Some((low, high)) => self.range(low, high)?,
            None => {
                let value = self.value(range)?;
                // "N/step means N to the last, by step", even for a step of one.
                (
                    value,
                    if step.is_some() {
                        self.last.max(value)
                    } else {
                        value
                    },
                )
            }
        };
        let step_size = usize::try_from(step_size).unwrap_or(usize::MAX);
        if step_size == 0 {
            return Err(FieldProblem::ZeroStep);
        }
        for value in (start..=end).step_by(step_size) {
            field.bits |= 1 << value;
        }
        field.wildcard |= is_wildcard(range);
        field.unrestricted |= is_wildcard(range) && step_size == 1;
        Ok(())
    }

    fn range(&self, low: &str, high: &str) -> Result<(u8, u8), FieldProblem> {
        // robfig/cron reads `*-5` as `*` and drops the rest without a word.
        if high.contains('-') || is_wildcard(low) {
            return Err(FieldProblem::Syntax);
        }
        let (low, high) = (self.value(low)?, self.value(high)?);
        if low > high {
            return Err(FieldProblem::Backwards);
        }
        Ok((low, high))
    }

    fn value(&self, text: &str) -> Result<u8, FieldProblem> {
        let named = (self.min..)
            .zip(self.names)
            .find(|(_, name)| text.eq_ignore_ascii_case(name));
        if let Some((value, _)) = named {
            return Ok(value);
        }
        let value = u8::try_from(number(text)?).map_err(|_| FieldProblem::OutOfRange)?;
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(FieldProblem::OutOfRange)
        }
    }
}

fn is_wildcard(text: &str) -> bool {
    text == "*" || text == "?"
}

fn number(text: &str) -> Result<u64, FieldProblem> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| FieldProblem::OutOfRange);
    }
    let marks = text.trim_matches(|c: char| c.is_ascii_digit());
    let extension = !marks.is_empty()
        && marks
            .chars()
            .all(|c| matches!(c.to_ascii_uppercase(), 'L' | 'W' | '#' | 'H' | 'R' | '~'));
    Err(if extension {
        FieldProblem::Extension
    } else {
        FieldProblem::Value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(spec: &FieldSpec, text: &str) -> Vec<u8> {
        spec.parse(text).unwrap().values().collect()
    }

    fn problem(spec: &FieldSpec, text: &str) -> FieldProblem {
        match spec.parse(text).unwrap_err() {
            ScheduleError::Field { problem, .. } => problem,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn lists_ranges_steps_and_names_select_values() {
        assert_eq!(values(&HOUR, "1,3-5,20/2"), [1, 3, 4, 5, 20, 22]);
        assert_eq!(values(&HOUR, "*/6"), [0, 6, 12, 18]);
        assert_eq!(values(&HOUR, "2-9/3"), [2, 5, 8]);
        assert_eq!(values(&HOUR, "22/1"), [22, 23]);
        assert_eq!(values(&HOUR, "007,,*/100"), [0, 7]);
        assert_eq!(values(&MONTH, "jan,Mar-MAY"), [1, 3, 4, 5]);
        assert_eq!(values(&DAY_OF_WEEK, "mon-fri/2"), [1, 3, 5]);
    }

    #[test]
    fn seven_is_sunday() {
        assert_eq!(values(&DAY_OF_WEEK, "7"), [0]);
        assert_eq!(values(&DAY_OF_WEEK, "5-7"), [0, 5, 6]);
        assert_eq!(values(&DAY_OF_WEEK, "7/2"), [0]);
        assert_eq!(
            values(&DAY_OF_WEEK, "5/2"),
            [5],
            "as Kubernetes reads it: to Saturday"
        );
    }

    #[test]
    fn only_a_star_without_a_step_leaves_a_field_open() {
        for (text, unrestricted) in [
            ("*", true),
            ("?", true),
            ("*/1", true),
            ("3,*", true),
            ("*/2", false),
            ("1-31", false),
        ] {
            assert_eq!(
                DAY_OF_MONTH.parse(text).unwrap().unrestricted,
                unrestricted,
                "{text}"
            );
        }
    }

    #[test]
    fn every_problem_has_its_name() {
        for (text, expected) in [
            ("60", FieldProblem::OutOfRange),
            ("99999999999999999999", FieldProblem::OutOfRange),
            ("5-70", FieldProblem::OutOfRange),
            ("9-5", FieldProblem::Backwards),
            ("*/0", FieldProblem::ZeroStep),
            ("1-2-3", FieldProblem::Syntax),
            ("1/2/3", FieldProblem::Syntax),
            ("*-5", FieldProblem::Syntax),
            (",", FieldProblem::Nothing),
            ("x", FieldProblem::Value),
            ("mon", FieldProblem::Value),
            ("-5", FieldProblem::Value),
            ("+5", FieldProblem::Value),
            ("5/", FieldProblem::Value),
            ("H", FieldProblem::Extension),
            ("5L", FieldProblem::Extension),
            ("5#2", FieldProblem::Extension),
        ] {
            assert_eq!(problem(&MINUTE, text), expected, "{text}");
        }
        assert_eq!(problem(&DAY_OF_MONTH, "0"), FieldProblem::OutOfRange);
        assert_eq!(problem(&DAY_OF_WEEK, "8"), FieldProblem::OutOfRange);
        assert_eq!(problem(&DAY_OF_WEEK, "fri-sun"), FieldProblem::Backwards);
    }
}
