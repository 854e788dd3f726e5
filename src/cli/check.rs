//! `sonde check`.

use super::{CliError, printer};
use crate::app::{AppError, ConfigSource};
use crate::base::units::format_duration;
use crate::config::{self, Environment, Settings};
use crate::http::WebConfigState;
use crate::metrics::series_per_probe;
use crate::schedule::Schedule;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The file to check
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print the file's JSON Schema, for editors
    #[arg(long)]
    schema: bool,
}

impl CheckArgs {
    pub(super) fn run(self, environment: Environment) -> Result<(), CliError> {
        if self.schema {
            return Ok(printer::line(config::json_schema())?);
        }
        let settings = ConfigSource {
            path: self.file,
            text: None,
            environment,
            overrides: Vec::new(),
        }
        .load()?;
        let web_config_file = settings.server.web_config_file.as_deref();
        WebConfigState::open(web_config_file).map_err(AppError::from)?;
        Ok(printer::line(summary(&settings))?)
    }
}

fn summary(settings: &Settings) -> String {
    let mut out = String::new();
    let mut probes = 0;
    let mut series = 0;
    let mut matrices: BTreeMap<usize, [usize; 3]> = BTreeMap::new();
    for plan in &settings.targets {
        let target = &plan.settings;
        let runtime = target.runtime.map_or("auto", |runtime| runtime.name);
        let model = target.model.as_deref().unwrap_or("the first it offers");
        out.push_str(&format!(
            "target {}: {runtime}, {model}, {}{}\n",
            target.name,
            target.endpoint.url(),
            target.endpoint.through()
        ));
        let before = series;
        for scenario in &plan.scenarios {
            let cadence = &scenario.cadence;
            let every = match &cadence.schedule {
                Schedule::Every(_) => String::new(),
                cron => format!(", every {}", format_duration(cron.typical_interval())),
            };
            let name = &scenario.scenario.settings.name;
            out.push_str(&format!("  scenario {name}: {}{every}\n", cadence.schedule));
            let objectives = settings.objectives.iter();
            let objectives =
                objectives.filter(|o| o.selector.matches(&target.name, &target.labels, name));
            probes += 1;
            series += series_per_probe(settings.metrics.classic_buckets, objectives.count());
        }
        if let Some(entry) = plan.matrix {
            let counts = matrices.entry(entry).or_default();
            let more = [1, plan.scenarios.len(), series - before];
            counts
                .iter_mut()
                .zip(more)
                .for_each(|(count, more)| *count += more);
        }
    }
    for (entry, [targets, probes, series]) in matrices {
        out.push_str(&format!(
            "matrix targets[{entry}]: {targets} targets, {probes} probes, about {series} series\n"
        ));
    }
    for warning in &settings.warnings {
        out.push_str(&format!("warning: {warning}\n"));
    }
    out.push_str(&format!(
        "good: {} targets, {probes} probes, about {series} series in a text scrape",
        settings.targets.len()
    ));
    out
}
