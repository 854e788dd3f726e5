//! `sonde list`.

use super::{CliError, printer};
use crate::runtime::{RUNTIMES, RuntimeDescription, RuntimeSpec};
use clap::{Args, Subcommand};

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The runtimes that Sonde speaks to: what is asked, how a key travels, how `auto` finds them
    Runtimes(RuntimesArgs),
}

#[derive(Args)]
struct RuntimesArgs {
    /// This one alone
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ListArgs {
    pub(super) fn run(self) -> Result<(), CliError> {
        let What::Runtimes(RuntimesArgs { name, json }) = self.what;
        let wanted = |spec: &&RuntimeSpec| name.as_deref().is_none_or(|name| name == spec.name);
        let found = RUNTIMES.iter().filter(wanted).map(RuntimeSpec::describe);
        let found: Vec<RuntimeDescription> = found.collect();
        if let (true, Some(name)) = (found.is_empty(), name) {
            let message = format!(
                "`{name}` is no runtime that Sonde knows\nhint: `sonde list runtimes` lists them"
            );
            return Err(CliError::Usage(message));
        }
        let text = match json {
            true => serde_json::to_string_pretty(&found)
                .map_err(|error| CliError::Failed(error.to_string()))?,
            false => found.iter().map(block).collect::<Vec<_>>().join("\n\n"),
        };
        Ok(printer::line(text)?)
    }
}

fn block(runtime: &RuntimeDescription) -> String {
    let mut out = format!("{}\n    {}", runtime.name, runtime.summary);
    let mut row = |title: &str, text: &str| {
        out.push_str(&format!("\n    {title:<9} {}", text.replace('`', "")));
    };
    for request in &runtime.requests {
        row("asks", &format!("POST {}", request.path));
    }
    row("stream", runtime.stream);
    row("key", &runtime.key);
    row(
        "found by",
        runtime
            .found_by
            .as_deref()
            .unwrap_or("its name in the configuration alone"),
    );
    row("such as", runtime.url);
    out
}
