//! What can go wrong on purpose, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;

use crate::base::units::parse_ratio;

/// One way in which a simulated answer goes wrong, or merely looks unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection is closed instead of answering.
    Refuse,
    /// The connection is reset (TCP RST) in the middle of the stream.
    Reset,
    /// Status 400.
    BadRequest,
    /// Status 401.
    Unauthorized,
    /// Status 404: the model does not exist.
    ModelNotFound,
    /// Status 429 with `Retry-After`.
    RateLimited,
    /// Status 500.
    ServerError,
    /// Status 503.
    Unavailable,
    /// An error inside a stream that began with status 200.
    InBandError,
    /// The connection is closed in the middle of the stream.
    Truncated,
    /// The HTTP body ends properly, but without finish reason and terminator.
    TruncatedClean,
    /// Some tokens, then silence on an open connection.
    Stall,
    /// Response headers, then silence: no token ever comes.
    StallFirst,
    /// One frame that is not JSON, among good ones.
    Garbage,
    /// A complete answer without a single token.
    Empty,
    /// A complete answer that never says why it ended.
    NoFinish,
    /// The response headers are held back, and all tokens with them.
    SlowHeaders,
    /// The whole stream in one write at its end.
    Buffered,
    /// Several tokens in each frame.
    Burst,
    /// Each frame in several writes, cut inside `data:`, inside UTF-8 and before the last byte.
    SplitFrames,
    /// SSE comments, pings where the API has them (empty lines in NDJSON), before and between the tokens.
    KeepAlive,
    /// A first frame without a token at once, then a long wait.
    EarlyRole,
    /// A single line of many bytes.
    OversizedLine,
    /// Finish reason `content_filter` after some tokens.
    ContentFilter,
    /// All of the budget is spent on reasoning: finish reason `length`, no visible text.
    ReasoningOnly,
}

impl Fault {
    /// Every fault with its name as typed, in the order of the documentation.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Refuse, "refuse"),
        (Self::Reset, "reset"),
        (Self::BadRequest, "4xx"),
        (Self::Unauthorized, "401"),
        (Self::ModelNotFound, "404"),
        (Self::RateLimited, "429"),
        (Self::ServerError, "5xx"),
        (Self::Unavailable, "503"),
        (Self::InBandError, "in_band_error"),
        (Self::Truncated, "truncated"),
        (Self::TruncatedClean, "truncated_clean"),
        (Self::Stall, "stall"),
        (Self::StallFirst, "stall_first"),
        (Self::Garbage, "garbage"),
        (Self::Empty, "empty"),
        (Self::NoFinish, "no_finish"),
        (Self::SlowHeaders, "slow_headers"),
        (Self::Buffered, "buffered"),
        (Self::Burst, "burst"),
        (Self::SplitFrames, "split_frames"),
        (Self::KeepAlive, "keepalive"),
        (Self::EarlyRole, "early_role"),
        (Self::OversizedLine, "oversized_line"),
        (Self::ContentFilter, "content_filter"),
        (Self::ReasoningOnly, "reasoning_only"),
    ];

    /// The name that plans and the `x-simulate-fault` header use.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(fault, _)| *fault == self)
            .map_or("unnamed", |(_, name)| name)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(fault, _)| *fault)
            .ok_or_else(|| FaultError::Unknown(text.to_owned()))
    }
}

/// Why a text is not a [`Fault`] or a [`FaultPlan`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No fault has this name.
    #[error("unknown fault `{0}`: use {list}", list = names())]
    Unknown(String),
    /// A rate is missing or not a ratio.
    #[error("`{0}` is not a fault with a rate, such as `5xx:0.01` or `stall:0.5%`")]
    Rate(String),
    /// The rates add up to more than one.
    #[error("the rates add up to {0}, which is more than 1")]
    Sum(String),
}

fn names() -> String {
    let names: Vec<&str> = Fault::ALL.iter().map(|(_, name)| *name).collect();
    names.join(", ")
}

/// Which generation request suffers which fault. As text: `none`, rates as in
/// `5xx:0.01,stall:0.005`, a script as in `script: ok,5xx,ok,stall` (everything after it is ok)
/// or a script without end as in `cycle: ok,ok,5xx`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum FaultPlan {
    /// Nothing goes wrong.
    #[default]
    None,
    /// Each request draws at most one fault with these probabilities (0–1).
    Rates(Vec<(Fault, f64)>),
    /// The nth request suffers the nth entry.
    Script {
        /// One entry per request; `None` is a good answer.
        steps: Vec<Option<Fault>>,
        /// Starts over at the end instead of answering well for ever.
        repeat: bool,
    },
}

impl FaultPlan {
    /// The fault of generation request `number`, counted from zero.
    pub fn choose(&self, number: u64, random: &mut impl Rng) -> Option<Fault> {
        match self {
            Self::None => None,
            Self::Rates(rates) => {
                let mut rest: f64 = random.random();
                for (fault, rate) in rates {
                    if rest < *rate {
                        return Some(*fault);
                    }
                    rest -= rate;
                }
                None
            }
            Self::Script { steps, repeat } => {
                let length = u64::try_from(steps.len())
                    .ok()
                    .filter(|length| *length > 0)?;
                let position = if *repeat { number % length } else { number };
                let position = usize::try_from(position).ok()?;
                steps.get(position).copied().flatten()
            }
        }
    }
}

impl FromStr for FaultPlan {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() || text == "none" {
            return Ok(Self::None);
        }
        for (prefix, repeat) in [("script:", false), ("cycle:", true)] {
            if let Some(list) = text.strip_prefix(prefix) {
                let steps = list.split(',').map(step).collect::<Result<_, _>>()?;
                return Ok(Self::Script { steps, repeat });
            }
        }
        let rates = text.split(',').map(rate).collect::<Result<Vec<_>, _>>()?;
        let sum: f64 = rates.iter().map(|(_, rate)| rate).sum();
        if sum > 1.0 + 1e-9 {
            return Err(FaultError::Sum(sum.to_string()));
        }
        Ok(Self::Rates(rates))
    }
}

/// One entry of a script: `ok` or the name of a fault.
fn step(text: &str) -> Result<Option<Fault>, FaultError> {
    match text.trim() {
        "ok" => Ok(None),
        name => name.parse().map(Some),
    }
}

fn rate(text: &str) -> Result<(Fault, f64), FaultError> {
    let (name, ratio) = text
        .split_once(':')
        .ok_or_else(|| FaultError::Rate(text.trim().to_owned()))?;
    let fault = name.trim().parse()?;
    let ratio = parse_ratio(ratio).map_err(|_| FaultError::Rate(text.trim().to_owned()))?;
    Ok((fault, ratio))
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("none"),
            Self::Rates(rates) => {
                for (position, (fault, rate)) in rates.iter().enumerate() {
                    let comma = if position == 0 { "" } else { "," };
                    write!(out, "{comma}{fault}:{rate}")?;
                }
                Ok(())
            }
            Self::Script { steps, repeat } => {
                out.write_str(if *repeat { "cycle: " } else { "script: " })?;
                for (position, step) in steps.iter().enumerate() {
                    let comma = if position == 0 { "" } else { "," };
                    write!(out, "{comma}{}", step.map_or("ok", Fault::name))?;
                }
                Ok(())
            }
        }
    }
}

/// How strong the faults are that need a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultTuning {
    /// Tokens that come before a fault in the middle of a stream.
    pub after_tokens: u32,
    /// Extra wait of `slow_headers` and `early_role`.
    pub delay: Duration,
    /// Text of `oversized_line`, in bytes.
    pub oversized_bytes: usize,
    /// Tokens per frame of `burst`.
    pub burst: u32,
    /// `Retry-After` of `429`, written in whole seconds.
    pub retry_after: Duration,
}

impl Default for FaultTuning {
    fn default() -> Self {
        Self {
            after_tokens: 3,
            delay: Duration::from_secs(2),
            oversized_bytes: 2 << 20,
            burst: 4,
            retry_after: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg32;

    fn choices(plan: &str, count: u64) -> Vec<Option<Fault>> {
        let plan: FaultPlan = plan.parse().unwrap();
        let mut random = Pcg32::seed_from_u64(3);
        (0..count)
            .map(|number| plan.choose(number, &mut random))
            .collect()
    }

    #[test]
    fn every_fault_reads_back_from_its_name() {
        for (fault, name) in Fault::ALL {
            assert_eq!(name.parse::<Fault>(), Ok(*fault));
            assert_eq!(fault.name(), *name);
        }
    }

    #[test]
    fn a_script_is_followed_and_then_all_is_well() {
        let found = choices("script: ok,5xx, stall", 5);
        let expected = [
            None,
            Some(Fault::ServerError),
            Some(Fault::Stall),
            None,
            None,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_cycle_starts_over() {
        let found = choices("cycle: ok,reset", 4);
        assert_eq!(found, [None, Some(Fault::Reset), None, Some(Fault::Reset)]);
    }

    #[test]
    fn rates_are_met() {
        let found = choices("5xx:0.1,stall:5%", 20_000);
        let count = |wanted| found.iter().filter(|fault| **fault == wanted).count();
        assert!((1800..2200).contains(&count(Some(Fault::ServerError))));
        assert!((850..1150).contains(&count(Some(Fault::Stall))));
    }

    #[test]
    fn plans_round_trip_and_mistakes_are_named() {
        for text in [
            "none",
            "5xx:0.01,stall:0.005",
            "script: ok,5xx",
            "cycle: ok,429",
        ] {
            assert_eq!(text.parse::<FaultPlan>().unwrap().to_string(), text);
        }
        assert_eq!("".parse(), Ok(FaultPlan::None));
        let unknown = "script: ok,fire"
            .parse::<FaultPlan>()
            .unwrap_err()
            .to_string();
        assert!(
            unknown.starts_with("unknown fault `fire`: use refuse, reset, 4xx"),
            "{unknown}"
        );
        assert_eq!(
            "5xx".parse::<FaultPlan>(),
            Err(FaultError::Rate("5xx".into()))
        );
        assert_eq!(
            "5xx:0.7,429:0.7".parse::<FaultPlan>(),
            Err(FaultError::Sum("1.4".into()))
        );
        assert!("5xx:NaN".parse::<FaultPlan>().is_err());
    }
}
