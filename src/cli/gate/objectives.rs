//! What a gate that probes judges by.

use super::{duration, ratio};
use crate::cli::CliError;
use crate::slo::{Conditions, Objective, Selector, runs_wanted};
use clap::Args;
use std::time::Duration;

/// The share of good runs that is asked for where nobody names one: twenty runs can prove it.
const SHARE: f64 = 0.95;

/// All runs of a gate are judged together, however long they take.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// Runs of a probe, unless told otherwise: enough for figures to be compared with a baseline, and no
/// more than a pipeline has patience for.
const RUNS: (u64, u64) = (20, 100);

/// An objective without a file; it takes the place of a file's.
#[derive(Args)]
pub(super) struct ObjectiveArgs {
    /// Share of runs that must be good [default: 95%]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    objective: Option<f64>,
    /// A good run's first token comes sooner
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    first_token_under: Option<Duration>,
    /// A good run's first token that a user sees comes sooner
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    first_visible_under: Option<Duration>,
    /// The 95th percentile of a good run's gaps is shorter
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    inter_token_p95_under: Option<Duration>,
    /// A good run takes less time per output token
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    per_output_token_under: Option<Duration>,
    /// A good run's longest gap is shorter
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_stall_under: Option<Duration>,
    /// A good run ends sooner
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    inference_under: Option<Duration>,
    /// A good run decodes more tokens per second
    #[arg(long, value_name = "TOKENS")]
    decode_tps_over: Option<f64>,
}

/// As in a configuration: an objective of all leaves no budget. Written so that NaN fails.
fn share(text: &str) -> Result<f64, String> {
    let share = ratio(text)?;
    match share > 0.0 && share < 1.0 {
        true => Ok(share),
        false => Err("not strictly between 0 and 1; write `95%` or `99.9%`".to_owned()),
    }
}

impl ObjectiveArgs {
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            ("--objective", self.objective.is_some()),
            ("--first-token-under", self.first_token_under.is_some()),
            ("--first-visible-under", self.first_visible_under.is_some()),
            (
                "--inter-token-p95-under",
                self.inter_token_p95_under.is_some(),
            ),
            (
                "--per-output-token-under",
                self.per_output_token_under.is_some(),
            ),
            ("--max-stall-under", self.max_stall_under.is_some()),
            ("--inference-under", self.inference_under.is_some()),
            ("--decode-tps-over", self.decode_tps_over.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }

    /// The objectives to judge by: the command line's; else the configuration's, as far as `named`; else
    /// that runs succeed.
    ///
    /// # Errors
    /// When `named` names what is not there.
    pub(super) fn choose(
        &self,
        configured: &[Objective],
        named: &[String],
    ) -> Result<Vec<Objective>, CliError> {
        if let Some(option) = self.given() {
            if !named.is_empty() {
                return Err(CliError::Usage(format!(
                    "`{option}` states an objective and `--slo` names one\nhint: give one of the two"
                )));
            }
            return Ok(vec![self.stated("gate")]);
        }
        if let Some(missing) = named
            .iter()
            .find(|name| configured.iter().all(|one| one.name != **name))
        {
            let known: Vec<_> = configured.iter().map(|one| one.name.as_str()).collect();
            let known = match known.is_empty() {
                true => "the configuration has none under `slos`".to_owned(),
                false => format!("the objectives are {}", known.join(", ")),
            };
            return Err(CliError::Usage(format!(
                "there is no objective `{missing}`\nhint: {known}"
            )));
        }
        if configured.is_empty() {
            return Ok(vec![self.stated("success")]);
        }
        Ok(configured
            .iter()
            .filter(|one| named.is_empty() || named.contains(&one.name))
            .map(|one| Objective {
                window: WINDOW,
                ..one.clone()
            })
            .collect())
    }

    fn stated(&self, name: &str) -> Objective {
        Objective {
            name: name.to_owned(),
            selector: Selector::default(),
            objective: self.objective.unwrap_or(SHARE),
            window: WINDOW,
            conditions: Conditions {
                first_token_under: self.first_token_under,
                first_visible_under: self.first_visible_under,
                inter_token_p95_under: self.inter_token_p95_under,
                per_output_token_under: self.per_output_token_under,
                max_stall_under: self.max_stall_under,
                inference_under: self.inference_under,
                decode_tps_over: self.decode_tps_over,
                cost_under_usd: None,
            },
        }
    }
}

/// How many runs these objectives ask for.
pub(super) fn default_runs(objectives: &[Objective]) -> u32 {
    let wanted = objectives.iter().map(|one| runs_wanted(one.objective));
    let wanted = wanted.max().unwrap_or(RUNS.0).clamp(RUNS.0, RUNS.1);
    u32::try_from(wanted).unwrap_or(u32::MAX)
}
