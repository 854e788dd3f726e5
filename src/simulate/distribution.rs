//! Where a simulated runtime draws its delays and lengths from.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::base::units::{format_duration, parse_duration};

/// The longest delay that a distribution yields, whatever its tail: one hour.
const LONGEST_DELAY: Duration = Duration::from_hours(1);

/// A value that is drawn anew for each use. As text: `80ms`, `uniform(10ms,30ms)`,
/// `normal(80ms,10ms)`, `lognormal(120ms,0.4)`; for counts the same without units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution<Q> {
    /// Always the same value.
    Constant(Q),
    /// Every value from `low` to `high` alike.
    Uniform {
        /// Smallest value.
        low: Q,
        /// Largest value.
        high: Q,
    },
    /// A normal distribution, cut off at zero.
    Normal {
        /// Mean before the cut.
        mean: Q,
        /// Standard deviation before the cut.
        deviation: Q,
    },
    /// A value whose logarithm is normal: the usual shape of latencies.
    LogNormal {
        /// Half of the values lie below it.
        median: Q,
        /// Standard deviation of the natural logarithm, without unit.
        sigma: f64,
    },
}

/// What a [`Distribution`] can be of: [`Duration`] or a count.
pub trait Quantity: Copy {
    /// The value as a number (seconds for a duration).
    fn as_number(self) -> f64;
    /// The value nearest to a finite number that is not negative.
    fn from_number(number: f64) -> Self;
    /// Any value from `low` to `high`, each as likely as the next.
    fn between(low: Self, high: Self, random: &mut impl Rng) -> Self;
    /// Reads one value.
    fn parse(text: &str) -> Option<Self>;
    /// Writes one value so that [`Quantity::parse`] reads it back.
    fn write(self, out: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl Quantity for Duration {
    fn as_number(self) -> f64 {
        self.as_secs_f64()
    }

    fn from_number(number: f64) -> Self {
        Self::try_from_secs_f64(number)
            .unwrap_or(LONGEST_DELAY)
            .min(LONGEST_DELAY)
    }

    fn between(low: Self, high: Self, random: &mut impl Rng) -> Self {
        Self::from_number(random.random_range(low.as_number()..=high.as_number()))
    }

    fn parse(text: &str) -> Option<Self> {
        parse_duration(text).ok()
    }

    fn write(self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&format_duration(self))
    }
}

impl Quantity for u32 {
    fn as_number(self) -> f64 {
        f64::from(self)
    }

    fn from_number(number: f64) -> Self {
        // Saturates: a float cast never wraps.
        number.round() as Self
    }

    fn between(low: Self, high: Self, random: &mut impl Rng) -> Self {
        random.random_range(low..=high)
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn write(self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl<Q: Quantity> Distribution<Q> {
    /// Draws one value.
    pub fn sample(&self, random: &mut impl Rng) -> Q {
        match *self {
            Self::Constant(value) => value,
            Self::Uniform { low, high } => Q::between(low, high, random),
            Self::Normal { mean, deviation } => {
                let z: f64 = StandardNormal.sample(random);
                Q::from_number((mean.as_number() + z * deviation.as_number()).max(0.0))
            }
            Self::LogNormal { median, sigma } => {
                let z: f64 = StandardNormal.sample(random);
                Q::from_number(median.as_number() * (sigma * z).exp())
            }
        }
    }
}

/// Why a text is not a [`Distribution`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionError {
    /// The name before the bracket is none of ours.
    #[error("unknown distribution `{0}`: use constant, uniform, normal or lognormal")]
    UnknownShape(String),
    /// A bracket is missing or text follows it.
    #[error("`{0}` has no closing bracket, or text after it")]
    Bracket(String),
    /// The wrong number of values between the brackets.
    #[error("`{shape}` takes {expected} value(s), found {found}")]
    Arity {
        /// Name of the distribution.
        shape: &'static str,
        /// How many values it takes.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A value cannot be read.
    #[error("cannot read `{0}`: use a duration such as `80ms`, or a whole number for a count")]
    Value(String),
    /// The bounds of a uniform distribution are the wrong way round.
    #[error("`{0}` has its low bound above its high bound")]
    Inverted(String),
    /// The spread of a log-normal distribution is unusable.
    #[error("sigma `{0}` is not a number from 0 to 10")]
    Sigma(String),
}

impl<Q: Quantity> FromStr for Distribution<Q> {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let Some((shape, rest)) = text.split_once('(') else {
            return value(text).map(Self::Constant);
        };
        let Some(inside) = rest.strip_suffix(')') else {
            return Err(DistributionError::Bracket(text.to_owned()));
        };
        let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
        match shape.trim() {
            "constant" => {
                let [only] = arity("constant", &parts)?;
                value(only).map(Self::Constant)
            }
            "uniform" => {
                let [low, high] = arity("uniform", &parts)?;
                let (low, high): (Q, Q) = (value(low)?, value(high)?);
                if low.as_number() > high.as_number() {
                    return Err(DistributionError::Inverted(text.to_owned()));
                }
                Ok(Self::Uniform { low, high })
            }
            "normal" => {
                let [mean, deviation] = arity("normal", &parts)?;
                Ok(Self::Normal {
                    mean: value(mean)?,
                    deviation: value(deviation)?,
                })
            }
            "lognormal" => {
                let [median, spread] = arity("lognormal", &parts)?;
                let sigma = spread.parse().unwrap_or(f64::NAN);
                if !(0.0..=10.0).contains(&sigma) {
                    return Err(DistributionError::Sigma(spread.to_owned()));
                }
                Ok(Self::LogNormal {
                    median: value(median)?,
                    sigma,
                })
            }
            other => Err(DistributionError::UnknownShape(other.to_owned())),
        }
    }
}

fn value<Q: Quantity>(text: &str) -> Result<Q, DistributionError> {
    Q::parse(text).ok_or_else(|| DistributionError::Value(text.to_owned()))
}

fn arity<'a, const N: usize>(
    shape: &'static str,
    parts: &[&'a str],
) -> Result<[&'a str; N], DistributionError> {
    <[&str; N]>::try_from(parts).map_err(|_| DistributionError::Arity {
        shape,
        expected: N,
        found: parts.len(),
    })
}

impl<Q: Quantity> fmt::Display for Distribution<Q> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, first, second) = match *self {
            Self::Constant(value) => return value.write(out),
            Self::Uniform { low, high } => ("uniform", low, Some(high)),
            Self::Normal { mean, deviation } => ("normal", mean, Some(deviation)),
            Self::LogNormal { median, sigma } => {
                out.write_str("lognormal(")?;
                median.write(out)?;
                return write!(out, ",{sigma})");
            }
        };
        write!(out, "{shape}(")?;
        first.write(out)?;
        if let Some(second) = second {
            out.write_str(",")?;
            second.write(out)?;
        }
        out.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg32;

    fn mean_of(distribution: &Distribution<Duration>, median: bool) -> f64 {
        let mut random = Pcg32::seed_from_u64(7);
        let mut values: Vec<f64> = (0..20_000)
            .map(|_| distribution.sample(&mut random).as_secs_f64())
            .collect();
        values.sort_by(f64::total_cmp);
        if median {
            values[values.len() / 2]
        } else {
            values.iter().sum::<f64>() / values.len() as f64
        }
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "80ms",
            "uniform(10ms,30ms)",
            "normal(80ms,10ms)",
            "lognormal(120ms,0.4)",
            "1s500ms",
        ] {
            let parsed: Distribution<Duration> = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["32", "uniform(1,3)", "lognormal(1,0.5)"] {
            let parsed: Distribution<u32> = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        let spaced: Distribution<Duration> = " normal( 80ms , 10ms ) ".parse().unwrap();
        assert_eq!(spaced.to_string(), "normal(80ms,10ms)");
        let named: Distribution<Duration> = "constant(5ms)".parse().unwrap();
        assert_eq!(named.to_string(), "5ms");
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        for (text, message) in [
            (
                "gamma(1ms,2ms)",
                "unknown distribution `gamma`: use constant, uniform, normal or lognormal",
            ),
            (
                "normal(1ms,2ms",
                "`normal(1ms,2ms` has no closing bracket, or text after it",
            ),
            ("normal(1ms)", "`normal` takes 2 value(s), found 1"),
            (
                "80",
                "cannot read `80`: use a duration such as `80ms`, or a whole number for a count",
            ),
            (
                "uniform(3ms,1ms)",
                "`uniform(3ms,1ms)` has its low bound above its high bound",
            ),
            (
                "lognormal(3ms,NaN)",
                "sigma `NaN` is not a number from 0 to 10",
            ),
        ] {
            let error = text.parse::<Distribution<Duration>>().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn samples_follow_their_parameters() {
        let normal = "normal(80ms,10ms)".parse().unwrap();
        assert!((mean_of(&normal, false) - 0.080).abs() < 0.001);
        let uniform = "uniform(10ms,30ms)".parse().unwrap();
        assert!((mean_of(&uniform, false) - 0.020).abs() < 0.001);
        let lognormal = "lognormal(120ms,0.4)".parse().unwrap();
        assert!((mean_of(&lognormal, true) - 0.120).abs() < 0.003);
    }

    #[test]
    fn a_wide_normal_never_goes_below_zero_and_a_long_tail_stays_finite() {
        let mut random = Pcg32::seed_from_u64(1);
        let wide: Distribution<Duration> = "normal(1ms,1s)".parse().unwrap();
        let tail: Distribution<Duration> = "lognormal(1h,10)".parse().unwrap();
        for _ in 0..1000 {
            assert!(wide.sample(&mut random) <= LONGEST_DELAY);
            assert!(tail.sample(&mut random) <= LONGEST_DELAY);
        }
    }
}
