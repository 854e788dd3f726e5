//! What happens to the runs of a probe, told as series, and what must be true of the alerts.

use super::expression::{EVENTS, RESTRAINT, SCHEDULED, SKIPPED};
use super::generate::Cadence;
use super::yaml::{Node, map};
use crate::base::units::format_duration;
use std::ops::Range;
use std::time::Duration;

/// Runs end a little after they are due, so never together with a scrape.
const RUN_TIME: Duration = Duration::from_secs(4);

/// What becomes of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Bad,
    Excluded,
    /// Skipped on purpose.
    Restrained,
}

/// One test.
pub(super) struct Story {
    name: String,
    slo: String,
    /// The alerts that are looked at: an objective may have probes of other cadences, which no story of
    /// this one tells of.
    matcher: String,
    /// Target and scenario of the probe that the story is about, then of those beside it, which are well.
    probes: Vec<(String, String)>,
    interval: Duration,
    scrape: Duration,
    end: Duration,
    /// When the counters begin anew.
    pub(super) restarted: Option<Duration>,
    /// From when until when the first probe has no series.
    pub(super) gone: Option<Range<Duration>>,
    series: Vec<(String, String)>,
    checks: Vec<(String, Duration, Vec<String>)>,
}

/// A duration as promtool reads it. Fractions are cut off: promtool has none.
pub(super) fn span(duration: Duration) -> String {
    format_duration(Duration::from_secs(duration.as_secs()))
}

impl Story {
    /// A story until `end`, one sample of each series per `scrape`.
    pub(super) fn new(cadence: &Cadence<'_>, title: &str, scrape: Duration, end: Duration) -> Self {
        let slo = cadence.objective.name.clone();
        let probes = cadence
            .probes
            .iter()
            .map(|probe| (probe.target.clone(), probe.scenario.clone()));
        let every = format_duration(cadence.interval);
        Self {
            name: format!("{slo}, every {every}: {title}"),
            slo,
            matcher: cadence.matcher.clone(),
            probes: probes.collect(),
            interval: cadence.interval,
            scrape,
            end,
            restarted: None,
            gone: None,
            series: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Tells what becomes of each run of the first probe, by its index and the time it is due.
    pub(super) fn tell(&mut self, fate: impl Fn(u32, Duration) -> Fate) {
        let well = |_, _| Fate::Good;
        for (index, (target, scenario)) in self.probes.clone().into_iter().enumerate() {
            let (fates, gone) = match index {
                0 => (self.fates(&fate), self.gone.clone()),
                _ => (self.fates(&well), None),
            };
            let labels = format!(
                r#"instance="sonde:10798", job="sonde", target="{target}", scenario="{scenario}", runtime="vllm", model="m""#
            );
            let event = |result| {
                format!(
                    r#"{EVENTS}{{{labels}, slo="{}", result="{result}"}}"#,
                    self.slo
                )
            };
            let scheduled = format!("{SCHEDULED}{{{labels}}}");
            let skipped = format!(
                r#"{SKIPPED}{{{labels}, reason="{}"}}"#,
                RESTRAINT[0].as_str()
            );
            let kinds: [(String, Option<Fate>); 5] = [
                (event("good"), Some(Fate::Good)),
                (event("bad"), Some(Fate::Bad)),
                (event("excluded"), Some(Fate::Excluded)),
                (skipped, Some(Fate::Restrained)),
                (scheduled, None),
            ];
            for (series, counted) in kinds {
                let counted = |fate| counted.is_none_or(|counted| counted == fate);
                let samples = self.samples(&fates, counted, gone.as_ref());
                self.series.push((series, notation(&samples)));
            }
        }
    }

    fn fates(&self, fate: &dyn Fn(u32, Duration) -> Fate) -> Vec<(Duration, Fate)> {
        let mut fates = Vec::new();
        let mut due = Duration::ZERO;
        for index in 0.. {
            if due > self.end {
                break;
            }
            fates.push((due, fate(index, due)));
            due += self.interval;
        }
        fates
    }

    /// How many runs of this kind had ended by each scrape.
    fn samples(
        &self,
        fates: &[(Duration, Fate)],
        counted: impl Fn(Fate) -> bool,
        gone: Option<&Range<Duration>>,
    ) -> Vec<Option<u64>> {
        let mut samples = Vec::new();
        let mut rest = fates.iter().peekable();
        let mut count = 0;
        let mut at = Duration::ZERO;
        while at <= self.end {
            if self
                .restarted
                .is_some_and(|restart| at >= restart && at < restart + self.scrape)
            {
                count = 0;
            }
            while let Some((_, fate)) = rest.next_if(|(due, _)| *due + RUN_TIME <= at) {
                count += u64::from(counted(*fate));
            }
            let gone = gone.is_some_and(|gone| gone.contains(&at));
            samples.push((!gone).then_some(count));
            at += self.scrape;
        }
        samples
    }

    /// At this time each of these alerts fires for the probe, and for no other of the objective's.
    pub(super) fn fires(&mut self, alerts: &[&str], at: Duration) {
        let expression = format!(
            r#"count by (alertname, target, scenario) (ALERTS{{{}, alertname=~"{}", alertstate="firing"}})"#,
            self.matcher,
            alerts.join("|")
        );
        let probe = self
            .probes
            .first()
            .map(|(target, scenario)| format!(r#"target="{target}", scenario="{scenario}""#));
        let probe = probe.unwrap_or_default();
        let expected = alerts
            .iter()
            .map(|alert| format!(r#"{{alertname="{alert}", {probe}}}"#));
        self.checks.push((expression, at, expected.collect()));
    }

    /// The alert does not fire at this time.
    pub(super) fn silent(&mut self, alert: &str, at: Duration) {
        let expression = format!(
            r#"ALERTS{{{}, alertname="{alert}", alertstate="firing"}}"#,
            self.matcher
        );
        self.checks.push((expression, at, Vec::new()));
    }

    /// No alert of such a name was even pending until then.
    pub(super) fn never(&mut self, alerts: &str, until: Duration) {
        let expression = format!(
            r#"count_over_time(ALERTS{{{}, alertname=~"{alerts}"}}[{}])"#,
            self.matcher,
            span(until + self.scrape)
        );
        self.checks.push((expression, until, Vec::new()));
    }

    pub(super) fn node(&self) -> Node {
        let series = self.series.iter().map(|(series, values)| {
            map([
                ("series", series.as_str().into()),
                ("values", values.as_str().into()),
            ])
        });
        let checks = self.checks.iter().map(|(expression, at, expected)| {
            let samples = expected
                .iter()
                .map(|labels| map([("labels", labels.as_str().into()), ("value", 1.0.into())]));
            map([
                ("expr", expression.as_str().into()),
                ("eval_time", span(*at).into()),
                ("exp_samples", Node::List(samples.collect())),
            ])
        });
        map([
            ("name", self.name.as_str().into()),
            ("interval", span(self.scrape).into()),
            ("input_series", Node::List(series.collect())),
            ("promql_expr_test", Node::List(checks.collect())),
        ])
    }
}

/// promtool's notation: `0+1x20` is 0 and 20 more, each 1 higher. What ends is marked stale once.
fn notation(samples: &[Option<u64>]) -> String {
    let mut parts = Vec::new();
    let mut rest = samples;
    while let Some((&first, after)) = rest.split_first() {
        let Some(first) = first else {
            let absent = rest.iter().take_while(|sample| sample.is_none()).count();
            parts.push("stale".to_owned());
            if absent > 1 {
                parts.push(format!("_x{}", absent - 1));
            }
            rest = rest.get(absent..).unwrap_or_default();
            continue;
        };
        let step = match after.first() {
            Some(Some(next)) if *next >= first => next - first,
            _ => 0,
        };
        let expected = |index: usize| first + step * (index as u64 + 1);
        let follow = after
            .iter()
            .enumerate()
            .take_while(|(index, sample)| **sample == Some(expected(*index)))
            .count();
        parts.push(match (step, follow) {
            (_, 0) => first.to_string(),
            (0, _) => format!("{first}x{follow}"),
            _ => format!("{first}+{step}x{follow}"),
        });
        rest = after.get(follow..).unwrap_or_default();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_promtool_reads_them() {
        let samples = [0, 0, 1, 2, 3, 0].map(Some);
        assert_eq!(notation(&samples), "0x1 1+1x2 0");
        assert_eq!(
            notation(&[Some(4), None, None, None, Some(0)]),
            "4 stale _x2 0"
        );
    }
}
