//! `/api/v1/verdict`: READY, DEGRADED, NOT READY or UNDECIDED, for `sonde gate` and for tools that roll out.

use super::Context;
use crate::base::clock::wall_now;
use crate::base::label::ProbeLabels;
use crate::record;
use crate::slo::{Assessment, Evidence, Reason, Recent, Silence, Standing, Verdict};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Which objectives are asked for; an empty list is all of them.
#[derive(Default)]
struct Wanted {
    slos: Vec<String>,
    targets: Vec<String>,
    scenarios: Vec<String>,
    /// Tell the verdict by the HTTP status too.
    by_status: bool,
}

/// Parameters: `slo`, `target` and `scenario`, each any number of times, and `status=code`.
pub(super) async fn verdict(
    State(context): State<Context>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    let wanted = match Wanted::read(parameters) {
        Ok(wanted) => wanted,
        Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
    };
    let standings = context.store.book().standings(Instant::now());
    let live = context.live();
    let known = Known {
        standings: &standings,
        probes: live.probes.iter().map(|probe| &probe.labels).collect(),
        pending: &live.pending,
    };
    if let Err(message) = wanted.check(&known) {
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let board: BTreeMap<_, _> = context.board.snapshot().into_iter().collect();
    let assessment = assess(&wanted, &known, &board, wall_now());
    let status = match wanted.by_status && assessment.verdict != Verdict::Ready {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    (status, Json(assessment)).into_response()
}

/// What can be asked for.
struct Known<'a> {
    standings: &'a [Standing],
    probes: Vec<&'a ProbeLabels>,
    /// Targets without probes yet, and why.
    pending: &'a [(String, String)],
}

impl Wanted {
    fn read(parameters: Vec<(String, String)>) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (key, value) in parameters {
            match (key.as_str(), value.as_str()) {
                ("slo", _) => wanted.slos.push(value),
                ("target", _) => wanted.targets.push(value),
                ("scenario", _) => wanted.scenarios.push(value),
                ("status", "code") => wanted.by_status = true,
                ("status", _) => {
                    return Err(format!(
                        "`status={value}` means nothing\nhint: `status=code` answers 503 unless READY\n"
                    ));
                }
                _ => {
                    return Err(format!(
                        "`{key}` is no parameter\nhint: the parameters are slo, target, scenario and status\n"
                    ));
                }
            }
        }
        Ok(wanted)
    }

    /// Whether everything that is asked for is there. What targets that are not known yet will have is
    /// not known either.
    fn check(&self, known: &Known<'_>) -> Result<(), String> {
        let pending = known.pending.iter().map(|(target, _)| target.as_str());
        let targets = known.probes.iter().map(|labels| &*labels.target);
        missing("target", &self.targets, targets.chain(pending).collect())?;
        if !known.pending.is_empty() {
            return Ok(());
        }
        let scenarios = known.probes.iter().map(|labels| &*labels.scenario);
        missing("scenario", &self.scenarios, scenarios.collect())?;
        let slos = known
            .standings
            .iter()
            .map(|one| one.objective.name.as_str());
        missing("objective", &self.slos, slos.collect())
    }

    fn matches(&self, standing: &Standing) -> bool {
        let fits = |wanted: &[String], found: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == found)
        };
        fits(&self.slos, &standing.objective.name)
            && fits(&self.targets, &standing.labels.target)
            && fits(&self.scenarios, &standing.labels.scenario)
    }
}

fn missing(what: &str, wanted: &[String], known: BTreeSet<&str>) -> Result<(), String> {
    let Some(missing) = wanted.iter().find(|name| !known.contains(name.as_str())) else {
        return Ok(());
    };
    let known = match known.is_empty() {
        true => format!("there is no {what} at all"),
        false => format!(
            "the {what}s are {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    };
    Err(format!("there is no {what} `{missing}`\nhint: {known}\n"))
}

fn assess(
    wanted: &Wanted,
    known: &Known<'_>,
    board: &BTreeMap<ProbeLabels, record::Standing>,
    now: Timestamp,
) -> Assessment {
    let evidence: Vec<_> = known
        .standings
        .iter()
        .filter(|standing| wanted.matches(standing))
        .map(|standing| {
            let seen = board.get(&standing.labels);
            let outcomes = seen.map(|seen| Recent::of(seen.outcomes.iter().copied()));
            let silence = seen.and_then(|seen| silence(seen, standing.period, now));
            Evidence::of(standing, outcomes.unwrap_or_default(), silence)
        })
        .collect();
    let mut others: Vec<_> = known
        .pending
        .iter()
        .filter(|(target, _)| wanted.targets.is_empty() || wanted.targets.contains(target))
        .map(|(target, why)| {
            let text = format!("{target} is not probed yet: {why}");
            Reason::new(Verdict::Undecided, text)
        })
        .collect();
    if evidence.is_empty() && others.is_empty() {
        let text = "no objective speaks of what was asked for; state one under `slos`";
        others.push(Reason::new(Verdict::Undecided, text));
    }
    Assessment::of(evidence, Vec::new(), others)
}

fn silence(seen: &record::Standing, period: Duration, now: Timestamp) -> Option<Silence> {
    let ended = seen.last.as_ref()?.ended;
    let since = Duration::try_from(now.duration_since(ended)).unwrap_or_default();
    let why = seen.skipped.map(|reason| reason.as_str().to_owned());
    Silence::of(since, period, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Wanted, String> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Wanted::read(pairs.collect())
    }

    #[test]
    fn a_parameter_that_means_nothing_is_refused() {
        for (pair, hint) in [
            (("slos", "ttft"), "the parameters are slo, target"),
            (("status", "yes"), "`status=code` answers 503"),
        ] {
            let refused = read(&[pair]).err().unwrap();
            assert!(refused.contains(hint), "{refused}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let probe = crate::probe::Probe::example();
        let mut known = Known {
            standings: &[],
            probes: vec![&probe.labels],
            pending: &[],
        };
        let refused = |wanted: &[(&str, &str)], known: &Known<'_>| {
            read(wanted).ok().unwrap().check(known).err()
        };
        assert_eq!(
            refused(&[("target", "x")], &known).unwrap(),
            "there is no target `x`\nhint: the targets are t\n"
        );
        assert_eq!(
            refused(&[("target", "t"), ("slo", "ttft")], &known).unwrap(),
            "there is no objective `ttft`\nhint: there is no objective at all\n"
        );
        // Whose objectives they are may turn out later.
        let pending = [("late".to_owned(), "asking what it is".to_owned())];
        known.pending = &pending;
        assert_eq!(
            refused(&[("target", "late"), ("slo", "ttft")], &known),
            None
        );
        let wanted = read(&[("target", "late")]).ok().unwrap();
        let told = assess(&wanted, &known, &BTreeMap::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(told.verdict, Verdict::Undecided);
        assert_eq!(
            told.reasons[0].text,
            "late is not probed yet: asking what it is"
        );
    }
}
