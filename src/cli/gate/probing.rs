//! The verdict of runs of our own.

use super::objectives::default_runs;
use super::{GateArgs, ProbingArgs, value};
use crate::app::{ConfigSource, IoThread};
use crate::base::clock::wall_now;
use crate::cli::CliError;
use crate::cli::request::{self, Unidentified, identify};
use crate::config::Environment;
use crate::probe::{
    InstrumentSettings, Observation, Probe, Prober, RunContext, Scenario, TargetSettings,
};
use crate::record::Sink;
use crate::runtime::detect::DetectError;
use crate::slo::{
    Assessment, Baseline, Evidence, Objective, ProbeObjectives, Reason, Recent, Recording, SloBook,
    Verdict, compare,
};
use crate::transport::Dialer;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const PAUSE: Duration = Duration::from_secs(1);
const GIVE_UP_AFTER: u32 = 5;
const LEAST_CHANGE: f64 = 0.1;

/// A target and what it is to be asked.
struct Plan {
    target: TargetSettings,
    dialer: Dialer,
    scenarios: Vec<Arc<Scenario>>,
}

/// A probe with its objectives, and every run of it.
struct Course {
    probe: Arc<Probe>,
    objectives: Vec<Objective>,
    runs: Vec<Arc<Observation>>,
}

impl Course {
    fn recent(&self) -> Recent {
        let telling = self.runs.iter().filter(|run| run.tells_of_runtime());
        Recent::of(telling.map(|run| run.outcome))
    }

    fn recording(&self) -> Recording {
        let mut recording = Recording::of(&self.probe);
        self.runs.iter().for_each(|run| recording.add(run));
        recording
    }
}

impl GateArgs {
    pub(super) async fn probe(self, environment: Environment) -> Result<Value, CliError> {
        let (plans, configured, instrument) = self.plans(environment)?;
        let objectives = self.objective.choose(&configured, &self.slo)?;
        let (mut courses, unknown) = courses(plans, &objectives).await?;
        let mut baseline = None;
        if let Some(path) = &self.probing.baseline {
            baseline = Some(Reference::open(path, &courses)?);
        }
        let runs = self
            .probing
            .runs
            .unwrap_or_else(|| default_runs(&objectives));
        self.probing.run(runs, &mut courses, instrument).await?;
        if let Some(path) = &self.probing.save_baseline {
            save(path, &courses)?;
        }
        let mut notes = Vec::new();
        let mut comparisons = Vec::new();
        for (course, reference) in courses
            .iter()
            .zip(baseline.iter().flat_map(|one| &one.recordings))
        {
            let now = course.recording();
            comparisons.extend(reference.compared_with(&now));
            notes.extend(reference.differences(&now));
        }
        notes.extend(baseline.and_then(|one| one.note));
        let least_change = self.probing.least_change.unwrap_or(LEAST_CHANGE);
        let compared = compare(&comparisons, least_change);
        let mut assessment = Assessment::of(evidence(&courses), compared, unknown);
        assessment.notes = notes;
        value(&assessment)
    }

    /// Whom to ask what, and the objectives of the configuration.
    fn plans(
        &self,
        environment: Environment,
    ) -> Result<(Vec<Plan>, Vec<Objective>, InstrumentSettings), CliError> {
        if let Some(url) = &self.url {
            let (endpoint, dialer) = self.proof.resolve(url, &environment)?;
            let plan = Plan {
                target: self.request.target(endpoint, &environment)?,
                dialer,
                scenarios: vec![Arc::new(self.request.scenario()?)],
            };
            return Ok((vec![plan], Vec::new(), InstrumentSettings::default()));
        }
        let settings = ConfigSource {
            path: self.config.clone(),
            text: None,
            environment,
            overrides: Vec::new(),
        }
        .load()?;
        let names = settings.targets.iter().map(|plan| &*plan.settings.name);
        known("target", &self.target, names)?;
        let scenarios = settings.targets.iter().flat_map(|plan| &plan.scenarios);
        let names = scenarios.map(|plan| &*plan.scenario.settings.name);
        known("scenario", &self.scenario, names)?;
        let fits = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
        };
        let plans = settings
            .targets
            .into_iter()
            .filter(|plan| fits(&self.target, &plan.settings.name))
            .map(|plan| Plan {
                scenarios: plan
                    .scenarios
                    .into_iter()
                    .map(|plan| plan.scenario)
                    .filter(|scenario| fits(&self.scenario, &scenario.settings.name))
                    .collect(),
                target: plan.settings,
                dialer: plan.dialer,
            });
        Ok((plans.collect(), settings.objectives, settings.instrument))
    }
}

fn known<'a>(
    what: &str,
    wanted: &[String],
    known: impl Iterator<Item = &'a str>,
) -> Result<(), CliError> {
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    known.dedup();
    match wanted.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(missing) => Err(CliError::Usage(format!(
            "there is no {what} `{missing}`\nhint: the {what}s are {}",
            known.join(", ")
        ))),
    }
}

/// The probes that an objective speaks of, and what cannot be probed at all. Targets that do not say
/// what they are are asked.
async fn courses(
    plans: Vec<Plan>,
    objectives: &[Objective],
) -> Result<(Vec<Course>, Vec<Reason>), CliError> {
    let mut courses = Vec::new();
    let mut unknown = Vec::new();
    for plan in plans {
        let target = &plan.target;
        let of = |scenario: &Scenario| -> Vec<Objective> {
            let name = &scenario.settings.name;
            let matching = objectives
                .iter()
                .filter(|one| one.selector.matches(&target.name, &target.labels, name));
            matching.cloned().collect()
        };
        let wanted: Vec<_> = plan
            .scenarios
            .iter()
            .map(|scenario| (scenario.clone(), of(scenario)))
            .filter(|(_, objectives)| !objectives.is_empty())
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let (runtime, model) = (target.runtime, target.model.clone());
        let identity = match identify(&target.endpoint, &plan.dialer, runtime, model).await {
            Ok(identity) => identity,
            Err(error) => {
                unknown.push(unidentified(&target.name, &error));
                continue;
            }
        };
        for (scenario, objectives) in wanted {
            let retrieval = scenario.settings.retrieval;
            if !identity.0.offers(retrieval.map(|settings| settings.kind)) {
                let (runtime, name) = (identity.0.name, &scenario.settings.name);
                unknown.push(Reason::new(
                    Verdict::Undecided,
                    format!(
                        "{} cannot be asked {name}: its runtime `{runtime}` has no such operation",
                        target.name
                    ),
                ));
                continue;
            }
            let probe = request::probe(
                target.clone(),
                identity.clone(),
                plan.dialer.clone(),
                scenario,
            );
            courses.push(Course {
                probe: Arc::new(probe),
                objectives,
                runs: Vec::new(),
            });
        }
    }
    match courses.is_empty() && unknown.is_empty() {
        true => Err(CliError::Usage(
            "none of these objectives speaks of any of these targets and scenarios\nhint: select others, or none"
                .to_owned(),
        )),
        false => Ok((courses, unknown)),
    }
}

/// Nobody there, nobody who lets us in, or nothing to ask: users fare no better. But whoever answers in a
/// way that we do not know may be fine.
fn unidentified(target: &str, error: &Unidentified) -> Reason {
    let verdict = match error {
        Unidentified::Detect(DetectError::Unknown { .. }) => Verdict::Undecided,
        Unidentified::Detect(_) | Unidentified::NoModel(_) => Verdict::NotReady,
    };
    Reason::new(verdict, format!("{target} cannot be probed: {error}"))
}

impl ProbingArgs {
    /// One run at a time, each probe once per round: whatever changes meanwhile meets all alike.
    async fn run(
        &self,
        runs: u32,
        courses: &mut [Course],
        instrument: InstrumentSettings,
    ) -> Result<(), CliError> {
        // On a thread of its own, which knows how late it is.
        let io = IoThread::start()?;
        let prober = Prober::new(instrument, io.wakeups());
        let pause = self.pause.unwrap_or(PAUSE);
        let patience = u64::from(self.give_up_after.unwrap_or(GIVE_UP_AFTER));
        let warmup = self.warmup.unwrap_or_default();
        for round in 0..warmup.saturating_add(runs) {
            let going = courses
                .iter_mut()
                .filter(|course| course.recent().failed_in_a_row < patience);
            for (index, course) in going.enumerate() {
                if round > 0 || index > 0 {
                    tokio::time::sleep(pause).await;
                }
                let (prober, probe) = (prober.clone(), course.probe.clone());
                let run = io.handle().spawn(async move {
                    let context = RunContext::on_demand(CancellationToken::new());
                    prober.run(&probe, context).await
                });
                let run = run
                    .await
                    .map_err(|error| CliError::Failed(error.to_string()))?;
                if round >= warmup {
                    course.runs.push(Arc::new(run));
                }
            }
        }
        io.stop();
        Ok(())
    }
}

fn evidence(courses: &[Course]) -> Vec<Evidence> {
    let book = SloBook::default();
    let booked = courses.iter().map(|course| ProbeObjectives {
        labels: course.probe.labels.clone(),
        objectives: course.objectives.clone(),
        period: PAUSE,
    });
    book.retain(booked.collect(), Instant::now());
    let runs = courses.iter().flat_map(|course| &course.runs);
    runs.for_each(|run| book.observe(run));
    book.standings(Instant::now())
        .iter()
        .map(|standing| {
            let of_probe = |course: &&Course| course.probe.labels == standing.labels;
            let recent = courses.iter().find(of_probe).map(Course::recent);
            Evidence {
                // A handful of runs within minutes is no rate of anything.
                burning: None,
                ..Evidence::of(standing, recent.unwrap_or_default(), None)
            }
        })
        .collect()
}

/// What every probe is compared with, in the order of the probes.
struct Reference {
    recordings: Vec<Recording>,
    note: Option<String>,
}

impl Reference {
    /// Refused before a token is spent, where it is of something else.
    fn open(path: &Path, courses: &[Course]) -> Result<Self, CliError> {
        let refuse =
            |why: String| CliError::Usage(format!("the baseline `{}` {why}", path.display()));
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| refuse(format!("cannot be read: {error}")))?;
        let baseline = Baseline::parse(&text).map_err(|error| refuse(error.to_string()))?;
        let recordings = courses.iter().map(|course| {
            let found = baseline.recording_for(&course.recording(), courses.len() == 1);
            found.cloned().map_err(|error| refuse(error.to_string()))
        });
        let recordings: Vec<_> = recordings.collect::<Result<_, _>>()?;
        let note = (baseline.sonde_version != crate::base::build::VERSION).then(|| {
            format!(
                "the baseline was measured by Sonde {} and this is {}",
                baseline.sonde_version,
                crate::base::build::VERSION
            )
        });
        Ok(Self { recordings, note })
    }
}

fn save(path: &Path, courses: &[Course]) -> Result<(), CliError> {
    let recordings = courses.iter().map(Course::recording).collect();
    let baseline = Baseline::new(recordings, wall_now());
    let text = serde_json::to_string_pretty(&baseline);
    let text = text.map_err(|error| CliError::Failed(error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|error| {
        CliError::Failed(format!(
            "the baseline `{}` cannot be written: {error}",
            path.display()
        ))
    })
}
