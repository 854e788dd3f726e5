//! Figures of good runs, kept in a file to compare later ones with.

use super::comparison::{Comparison, Quantity};
use crate::base::build::VERSION;
use crate::probe::{Observation, Probe, RetrievalSettings};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// The form that this version writes and reads.
const SCHEMA: u32 = 1;

/// The content of a baseline's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The form of the file.
    pub schema: u32,
    /// The version of Sonde that measured.
    pub sonde_version: String,
    /// When it was written.
    pub created: Timestamp,
    /// One recording per probe.
    pub probes: Vec<Recording>,
}

/// One probe: what was asked of whom, and every good run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The target's name.
    pub target: String,
    /// Its runtime.
    pub runtime: String,
    /// Its model.
    pub model: String,
    /// The scenario's name.
    pub scenario: String,
    /// Everything about the request that moves its figures.
    pub request: Map<String, Value>,
    /// Successful runs, untainted and without an unexpected cache hit, in their order.
    pub samples: Vec<Sample>,
}

/// The figures of one run; see the glossary of `docs/measurement.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was meant to start.
    pub started: Timestamp,
    /// The clock that stamped it: wire, socket or user.
    pub clock: String,
    /// TTFT, any token.
    pub time_to_first_token_seconds: Option<f64>,
    /// TPOT.
    pub time_per_output_token_seconds: Option<f64>,
    /// Mean of the gaps between arrivals.
    pub inter_token_mean_seconds: Option<f64>,
    /// E2E.
    pub inference_seconds: f64,
    /// Decode TPS.
    pub decode_tokens_per_second: Option<f64>,
    /// How many tokens the answer has.
    pub output_tokens: Option<u64>,
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not the JSON of a baseline.
    #[error("is no baseline of Sonde: {0}\nhint: write one with `sonde gate --save-baseline FILE`")]
    Form(#[from] serde_json::Error),
    /// Of another form.
    #[error(
        "has schema {0}, and this version of Sonde reads schema {SCHEMA} only\nhint: write it again with `--save-baseline`"
    )]
    Schema(u32),
    /// It lacks the probe.
    #[error(
        "has nothing of {wanted}; it has {known}\nhint: write it with the same configuration and selection"
    )]
    Probe {
        /// Target and scenario.
        wanted: String,
        /// All that it has.
        known: String,
    },
    /// Of another model.
    #[error(
        "is of model `{then}`, but {probe} is asked for `{now}` now: their figures are not comparable\nhint: name the model with `--model`, or write a baseline of this one"
    )]
    Model {
        /// Target and scenario.
        probe: String,
        /// The model of the baseline.
        then: String,
        /// The model of now.
        now: String,
    },
    /// Of another request.
    #[error(
        "has another request for {probe}: `{key}` was {then} and is {now} now: their figures are not comparable\nhint: ask the same, or write a new baseline"
    )]
    Request {
        /// Target and scenario.
        probe: String,
        /// What differs.
        key: String,
        /// Then, as JSON.
        then: String,
        /// Now, as JSON.
        now: String,
    },
}

impl Baseline {
    /// Of these recordings, as of `created`.
    pub fn new(probes: Vec<Recording>, created: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            sonde_version: VERSION.to_owned(),
            created,
            probes,
        }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is no baseline, or one of another schema.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let form: Form = serde_json::from_str(text)?;
        if form.schema != SCHEMA {
            return Err(BaselineError::Schema(form.schema));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The recording that a probe can be compared with: the one of this target and scenario or, where
    /// there is but one on either side (`alone`), that one.
    ///
    /// # Errors
    /// When there is none, or it is of another model or another request.
    pub fn recording_for(&self, now: &Recording, alone: bool) -> Result<&Recording, BaselineError> {
        let same = |then: &&Recording| then.target == now.target && then.scenario == now.scenario;
        let only = match self.probes.as_slice() {
            [only] if alone => Some(only),
            _ => None,
        };
        let found = self.probes.iter().find(same).or(only);
        let then = found.ok_or_else(|| BaselineError::Probe {
            wanted: now.place(),
            known: self.places(),
        })?;
        if then.model != now.model {
            return Err(BaselineError::Model {
                probe: now.place(),
                then: then.model.clone(),
                now: now.model.clone(),
            });
        }
        let keys: BTreeSet<_> = then.request.keys().chain(now.request.keys()).collect();
        for key in keys {
            let (before, after) = (then.request.get(key), now.request.get(key));
            if before != after {
                let shown = |value: Option<&Value>| value.unwrap_or(&Value::Null).to_string();
                return Err(BaselineError::Request {
                    probe: now.place(),
                    key: key.clone(),
                    then: shown(before),
                    now: shown(after),
                });
            }
        }
        Ok(then)
    }

    fn places(&self) -> String {
        let places: Vec<_> = self.probes.iter().map(Recording::place).collect();
        match places.is_empty() {
            true => "nothing at all".to_owned(),
            false => places.join(", "),
        }
    }
}

impl Recording {
    /// Of a probe, without a run.
    pub fn of(probe: &Probe) -> Self {
        Self {
            target: probe.labels.target.to_string(),
            runtime: probe.labels.runtime.to_string(),
            model: probe.labels.model.to_string(),
            scenario: probe.labels.scenario.to_string(),
            request: request(probe),
            samples: Vec::new(),
        }
    }

    /// Takes a run's figures, where they are those of a good run.
    pub fn add(&mut self, run: &Observation) {
        if run.outcome.is_success() && !run.is_tainted() && !run.skipped_prefill() {
            self.samples.push(Sample::of(run));
        }
    }

    /// `target/scenario`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.target, self.scenario)
    }

    /// This recording as the baseline of another.
    pub fn compared_with<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = Comparison> + 'a {
        Quantity::ALL.into_iter().map(|quantity| Comparison {
            target: now.target.clone(),
            scenario: now.scenario.clone(),
            quantity,
            baseline: self.values(quantity),
            now: now.values(quantity),
        })
    }

    /// What is not the same on both sides and yet no reason to refuse, one line each.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let place = now.place();
        let mut notes = Vec::new();
        if self.place() != place {
            notes.push(format!("{place} is compared with {}", self.place()));
        }
        if self.runtime != now.runtime {
            notes.push(format!(
                "{place} is spoken to as {}, the baseline as {}",
                now.runtime, self.runtime
            ));
        }
        let (then, after) = (self.clocks(), now.clocks());
        if then != after && !then.is_empty() && !after.is_empty() {
            let list =
                |clocks: BTreeSet<&str>| clocks.into_iter().collect::<Vec<_>>().join(" and ");
            notes.push(format!(
                "{place} is stamped by the clock {} and the baseline by {}: a part of any difference is the \
                 clocks'; see each run's error bar",
                list(after),
                list(then)
            ));
        }
        notes
    }

    fn clocks(&self) -> BTreeSet<&str> {
        self.samples
            .iter()
            .map(|sample| sample.clock.as_str())
            .collect()
    }

    fn values(&self, quantity: Quantity) -> Vec<f64> {
        let figure = |sample: &Sample| match quantity {
            Quantity::TimeToFirstToken => sample.time_to_first_token_seconds,
            Quantity::TimePerOutputToken => sample.time_per_output_token_seconds,
            Quantity::Inference => Some(sample.inference_seconds),
        };
        self.samples.iter().filter_map(figure).collect()
    }
}

impl Sample {
    fn of(run: &Observation) -> Self {
        let latency = &run.latency;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let gaps: Duration = run.gaps.iter().sum();
        let mean = u32::try_from(run.gaps.len()).ok().filter(|n| *n > 0);
        Self {
            started: run.intended_start,
            clock: run.instrument.clock.as_str().to_owned(),
            time_to_first_token_seconds: seconds(latency.first_token),
            time_per_output_token_seconds: seconds(latency.per_output_token),
            inter_token_mean_seconds: seconds(mean.map(|n| gaps / n)),
            inference_seconds: latency.inference.as_secs_f64(),
            decode_tokens_per_second: latency.decode_tps,
            output_tokens: run.tokens.and_then(|tokens| tokens.usage.output),
        }
    }
}

/// Everything about a probe's request that moves its figures. Deadlines and assertions do not.
fn request(probe: &Probe) -> Map<String, Value> {
    let scenario = &probe.scenario.settings;
    let workload = &scenario.workload;
    let generation = &scenario.generation;
    let mut request = Map::new();
    for (key, value) in [
        ("kind", json!(workload.kind)),
        ("cache", json!(workload.cache)),
        ("system", json!(workload.system)),
        ("prompt", json!(workload.prompt)),
        ("input_tokens", json!(workload.input_tokens)),
        ("connection", json!(scenario.connection)),
        ("operation", json!(scenario.operation)),
        ("stream", json!(scenario.stream)),
        ("output_tokens", json!(generation.output_tokens)),
        ("temperature", json!(generation.temperature)),
        ("extra_body", json!(generation.extra_body)),
    ] {
        request.insert(key.to_owned(), value);
    }
    // Recordings of text know nothing of it.
    if let Some(RetrievalSettings { kind, inputs, .. }) = scenario.retrieval {
        request.insert("operation".to_owned(), json!(kind));
        request.insert("inputs".to_owned(), json!(inputs));
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Recording {
        Recording::of(&Probe::example())
    }

    fn sample(clock: &str, seconds: f64) -> Sample {
        Sample {
            started: Timestamp::UNIX_EPOCH,
            clock: clock.to_owned(),
            time_to_first_token_seconds: Some(seconds / 10.0),
            time_per_output_token_seconds: None,
            inter_token_mean_seconds: None,
            inference_seconds: seconds,
            decode_tokens_per_second: None,
            output_tokens: Some(12),
        }
    }

    #[test]
    fn a_baseline_reads_back_as_it_was_written() {
        let mut probe = recording();
        probe.samples = vec![sample("user", 1.5)];
        let written = Baseline::new(vec![probe], Timestamp::UNIX_EPOCH);
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(Baseline::parse(&text).unwrap(), written);
        let newer = text.replace("\"schema\":1", "\"schema\":2");
        let error = Baseline::parse(&newer).unwrap_err().to_string();
        assert!(error.starts_with("has schema 2"), "{error}");
        let error = Baseline::parse("{}").unwrap_err().to_string();
        assert!(error.starts_with("is no baseline of Sonde"), "{error}");
    }

    #[test]
    fn a_failed_or_tainted_run_is_no_sample() {
        let probe = Probe::example();
        let context = crate::probe::RunContext::on_demand(Default::default());
        let mut run = crate::probe::Prober::default().aborted(&probe, &context);
        let mut recording = Recording::of(&probe);
        recording.add(&run);
        run.outcome = crate::probe::Outcome::Success;
        run.instrument.taint = Some(crate::probe::Taint::RunQueue);
        recording.add(&run);
        assert!(recording.samples.is_empty());
        run.instrument.taint = None;
        recording.add(&run);
        assert_eq!(recording.samples.len(), 1);
    }

    #[test]
    fn another_model_or_request_is_refused_by_name() {
        let then = recording();
        let baseline = Baseline::new(vec![then.clone()], Timestamp::UNIX_EPOCH);
        assert_eq!(baseline.recording_for(&then, false).unwrap(), &then);
        let refused = |change: fn(&mut Recording)| {
            let mut now = recording();
            change(&mut now);
            baseline.recording_for(&now, false).unwrap_err().to_string()
        };
        let model = refused(|now| now.model = "other".to_owned());
        assert!(
            model.starts_with("is of model `m`, but t/s is asked for `other`"),
            "{model}"
        );
        let request = refused(|now| {
            now.request.insert("output_tokens".to_owned(), json!(7));
        });
        assert!(
            request.contains("`output_tokens` was null and is 7 now"),
            "{request}"
        );
        let probe = refused(|now| now.target = "elsewhere".to_owned());
        assert!(
            probe.starts_with("has nothing of elsewhere/s; it has t/s"),
            "{probe}"
        );
    }

    #[test]
    fn one_probe_is_compared_with_one_wherever_it_is_and_other_clocks_are_told() {
        let mut then = recording();
        then.samples = vec![sample("wire", 1.0)];
        let mut now = recording();
        now.target = "elsewhere".to_owned();
        now.samples = vec![sample("user", 2.0), sample("user", 3.0)];
        let baseline = Baseline::new(vec![then.clone()], Timestamp::UNIX_EPOCH);
        assert!(baseline.recording_for(&now, true).is_ok());
        let notes = then.differences(&now);
        assert_eq!(notes[0], "elsewhere/s is compared with t/s");
        assert!(
            notes[1].contains("clock user and the baseline by wire"),
            "{notes:?}"
        );
        let compared: Vec<_> = then.compared_with(&now).collect();
        assert_eq!(compared[2].baseline, [1.0]);
        assert_eq!(compared[2].now, [2.0, 3.0]);
        assert!(compared[1].now.is_empty());
    }
}
