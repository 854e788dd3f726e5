//! An objective, stated once; each run is judged once and exactly, not by bucket.

use crate::base::label::UserLabels;
use crate::base::units::format_duration;
use crate::measure::quantiles::quantile;
use crate::probe::Observation;
use serde::Serialize;
use std::time::Duration;

/// Which probes an objective speaks of. Absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The target's name.
    pub target: Option<String>,
    /// The scenario's name.
    pub scenario: Option<String>,
    /// Labels that the user has given the target, each with exactly this value.
    pub labels: UserLabels,
}

impl Selector {
    /// Whether the objective speaks of the probe of this target, with these labels of its own, and
    /// this scenario.
    pub fn matches(&self, target: &str, labels: &UserLabels, scenario: &str) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let mut wanted = self.labels.iter();
        fits(&self.target, target)
            && fits(&self.scenario, scenario)
            && wanted.all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// What a good run is, besides a successful one. All that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// TTFT, any token, below.
    pub first_token_under: Option<Duration>,
    /// TTFT, visible token, below.
    pub first_visible_under: Option<Duration>,
    /// 95th percentile of the run's own gaps between arrivals below (nearest rank: a gap that occurred,
    /// and the longest where there are fewer than 20).
    pub inter_token_p95_under: Option<Duration>,
    /// TPOT below.
    pub per_output_token_under: Option<Duration>,
    /// Longest gap below.
    pub max_stall_under: Option<Duration>,
    /// E2E below.
    pub inference_under: Option<Duration>,
    /// Decode speed above, tokens per second.
    pub decode_tps_over: Option<f64>,
    /// What the run's tokens cost together, in USD, below.
    pub cost_under_usd: Option<f64>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Unique; the label's value.
    pub name: String,
    /// Whom it concerns.
    pub selector: Selector,
    /// Share of good events that is promised, 0 to 1.
    pub objective: f64,
    /// Over which time.
    pub window: Duration,
    /// What good means.
    pub conditions: Conditions,
}

/// What a run counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Kept the promise.
    Good,
    /// Broke it. Failures and timeouts are bad.
    Bad,
    /// Says nothing about the runtime: tainted, cancelled, or our own fault.
    Excluded,
}

impl Judgement {
    /// Every judgement.
    pub const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Excluded];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Excluded => "excluded",
        }
    }
}

impl Objective {
    /// Judges one run that the selector matches.
    pub fn judge(&self, run: &Observation) -> Judgement {
        if !run.tells_of_runtime() {
            return Judgement::Excluded;
        }
        match run.outcome.is_success() && self.conditions.breaches(run).is_empty() {
            true => Judgement::Good,
            false => Judgement::Bad,
        }
    }
}

/// A condition that a run did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Breach {
    /// Its key in the configuration.
    pub condition: &'static str,
    /// What was promised: seconds, tokens per second, or USD, as the condition's figure is.
    pub limit: f64,
    /// What the run had; absent where it had no such figure.
    pub found: Option<f64>,
}

/// A condition of a run that does not have the condition's figure.
#[derive(Clone, Copy, PartialEq)]
enum Absent {
    /// A success without this figure has not kept the promise.
    Breaks,
    /// An answer of one arrival cannot have it: there is nothing slow about it.
    Keeps,
}

impl Conditions {
    /// The conditions that are set, by their keys in the configuration, with their limits.
    pub fn stated(&self) -> Vec<(&'static str, String)> {
        let time = |limit: Option<Duration>| limit.map(format_duration);
        let all = [
            ("first_token_under", time(self.first_token_under)),
            ("first_visible_under", time(self.first_visible_under)),
            ("inter_token_p95_under", time(self.inter_token_p95_under)),
            ("per_output_token_under", time(self.per_output_token_under)),
            ("max_stall_under", time(self.max_stall_under)),
            ("inference_under", time(self.inference_under)),
            (
                "decode_tps_over",
                self.decode_tps_over.map(|limit| limit.to_string()),
            ),
            (
                "cost_under_usd",
                self.cost_under_usd.map(|limit| limit.to_string()),
            ),
        ];
        let set = all
            .into_iter()
            .filter_map(|(name, limit)| Some((name, limit?)));
        set.collect()
    }

    /// The conditions that a successful run breaks. A figure equal to its limit does: under is under.
    pub fn breaches(&self, run: &Observation) -> Vec<Breach> {
        let latency = &run.latency;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let inter_token = || {
            let mut gaps = run.gaps.clone();
            gaps.sort_unstable();
            quantile(&gaps, 0.95)
        };
        let inter_token = self.inter_token_p95_under.and_then(|_| inter_token());
        let below = [
            (
                "first_token_under",
                seconds(self.first_token_under),
                seconds(latency.first_token),
                Absent::Breaks,
            ),
            (
                "first_visible_under",
                seconds(self.first_visible_under),
                seconds(latency.first_visible),
                Absent::Breaks,
            ),
            (
                "inter_token_p95_under",
                seconds(self.inter_token_p95_under),
                seconds(inter_token),
                Absent::Keeps,
            ),
            (
                "per_output_token_under",
                seconds(self.per_output_token_under),
                seconds(latency.per_output_token),
                Absent::Keeps,
            ),
            (
                "max_stall_under",
                seconds(self.max_stall_under),
                seconds(latency.max_stall),
                Absent::Keeps,
            ),
            (
                "inference_under",
                seconds(self.inference_under),
                Some(latency.inference.as_secs_f64()),
                Absent::Breaks,
            ),
            (
                "cost_under_usd",
                self.cost_under_usd,
                run.cost_usd.map(|cost| cost.total),
                Absent::Breaks,
            ),
        ];
        let decode = (
            "decode_tps_over",
            self.decode_tps_over,
            latency.decode_tps,
            Absent::Keeps,
        );
        let is_below: fn(f64, f64) -> bool = |found, limit| found < limit;
        let is_above: fn(f64, f64) -> bool = |found, limit| found > limit;
        let below = below.into_iter().map(|condition| (condition, is_below));
        below
            .chain([(decode, is_above)])
            .filter_map(|((condition, limit, found, absent), keeps)| {
                let limit = limit?;
                let kept = found.map_or(absent == Absent::Keeps, |found| keeps(found, limit));
                (!kept).then_some(Breach {
                    condition,
                    limit,
                    found,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::cost::Cost;
    use crate::probe::{Outcome, Probe, Prober, RunContext, Taint};
    use tokio_util::sync::CancellationToken;

    const MS: Duration = Duration::from_millis(1);

    /// A success of 20 gaps: 19 of 10 ms and one of 300.
    fn run() -> Observation {
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&Probe::example(), &context);
        run.outcome = Outcome::Success;
        run.latency.first_token = Some(200 * MS);
        run.latency.first_visible = Some(250 * MS);
        run.latency.per_output_token = Some(25 * MS);
        run.latency.max_stall = Some(300 * MS);
        run.latency.inference = 700 * MS;
        run.latency.decode_tps = Some(40.0);
        run.gaps = vec![10 * MS; 20];
        run.gaps[3] = 300 * MS;
        run.cost_usd = Some(Cost {
            input: None,
            cached: None,
            output: Some(0.002),
            total: 0.002,
        });
        run
    }

    fn judge(conditions: Conditions, run: &Observation) -> Judgement {
        let objective = Objective {
            name: "o".to_owned(),
            selector: Selector::default(),
            objective: 0.9,
            window: Duration::from_secs(60),
            conditions,
        };
        objective.judge(run)
    }

    /// Each condition with a limit that the run above meets exactly, and one that it keeps.
    fn limits() -> Vec<(Conditions, Conditions)> {
        let time = |set: fn(&mut Conditions, Duration), exact: Duration| {
            let with = |limit| {
                let mut conditions = Conditions::default();
                set(&mut conditions, limit);
                conditions
            };
            (with(exact), with(exact + MS))
        };
        let number = |set: fn(&mut Conditions, f64), exact: f64, kept: f64| {
            let with = |limit| {
                let mut conditions = Conditions::default();
                set(&mut conditions, limit);
                conditions
            };
            (with(exact), with(kept))
        };
        vec![
            time(|c, limit| c.first_token_under = Some(limit), 200 * MS),
            time(|c, limit| c.first_visible_under = Some(limit), 250 * MS),
            time(|c, limit| c.inter_token_p95_under = Some(limit), 10 * MS),
            time(|c, limit| c.per_output_token_under = Some(limit), 25 * MS),
            time(|c, limit| c.max_stall_under = Some(limit), 300 * MS),
            time(|c, limit| c.inference_under = Some(limit), 700 * MS),
            number(|c, limit| c.decode_tps_over = Some(limit), 40.0, 39.9),
            number(|c, limit| c.cost_under_usd = Some(limit), 0.002, 0.0021),
        ]
    }

    #[test]
    fn under_is_under_and_over_is_over_for_every_condition() {
        for (exact, kept) in limits() {
            assert_eq!(judge(exact, &run()), Judgement::Bad, "{exact:?}");
            assert_eq!(judge(kept, &run()), Judgement::Good, "{kept:?}");
            let breaches = exact.breaches(&run());
            let [breach] = breaches[..] else {
                panic!("{breaches:?}");
            };
            assert_eq!(breach.found, Some(breach.limit));
            assert_eq!(exact.stated()[0].0, breach.condition);
        }
    }

    #[test]
    fn a_good_run_keeps_every_condition_at_once() {
        let mut all = Conditions {
            first_token_under: Some(201 * MS),
            inter_token_p95_under: Some(11 * MS),
            cost_under_usd: Some(0.01),
            ..Conditions::default()
        };
        assert_eq!(judge(all, &run()), Judgement::Good);
        all.max_stall_under = Some(299 * MS);
        assert_eq!(judge(all, &run()), Judgement::Bad);
    }

    #[test]
    fn the_95th_percentile_of_few_gaps_is_the_longest() {
        let mut few = run();
        few.gaps.truncate(19);
        let conditions = Conditions {
            inter_token_p95_under: Some(100 * MS),
            ..Conditions::default()
        };
        assert_eq!(judge(conditions, &run()), Judgement::Good);
        assert_eq!(judge(conditions, &few), Judgement::Bad);
    }

    #[test]
    fn a_figure_that_is_missing_breaks_a_promise_unless_one_token_cannot_have_it() {
        let mut bare = run();
        bare.latency = crate::measure::latency::Latency {
            inference: 700 * MS,
            ..Default::default()
        };
        bare.gaps.clear();
        bare.cost_usd = None;
        let broken: Vec<_> = limits()
            .into_iter()
            .filter(|(_, kept)| judge(*kept, &bare) == Judgement::Bad)
            .map(|(_, kept)| kept.stated()[0].0)
            .collect();
        assert_eq!(
            broken,
            ["first_token_under", "first_visible_under", "cost_under_usd"]
        );
    }

    #[test]
    fn only_what_says_nothing_of_the_runtime_is_excluded() {
        let any = Conditions::default();
        for outcome in Outcome::ALL {
            let mut run = run();
            run.outcome = outcome;
            let expected = match outcome {
                Outcome::Success => Judgement::Good,
                Outcome::Cancelled | Outcome::Internal => Judgement::Excluded,
                _ => Judgement::Bad,
            };
            assert_eq!(judge(any, &run), expected, "{outcome}");
            run.instrument.taint = Some(Taint::Throttled);
            assert_eq!(judge(any, &run), Judgement::Excluded, "{outcome}");
        }
    }

    #[test]
    fn a_selector_speaks_of_targets_by_their_labels() {
        let labels = |pairs: &[(&str, &str)]| -> UserLabels {
            let owned = pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            owned.collect()
        };
        let selector = Selector {
            labels: labels(&[("region", "eu")]),
            ..Selector::default()
        };
        assert!(selector.matches("a", &labels(&[("region", "eu"), ("zone", "b")]), "s"));
        assert!(!selector.matches("a", &labels(&[("region", "eu-west")]), "s"));
        assert!(!selector.matches("a", &labels(&[]), "s"));
    }
}
