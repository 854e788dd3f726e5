//! The status page: one self-contained document, for the person who is called at night.

mod format;
mod slos;
mod table;
#[cfg(test)]
mod tests;

use crate::base::label::ProbeLabels;
use crate::record::Standing;
use crate::slo;
use crate::transport::{Availability, ClockStatus};
use format::{Escaped, span, utc};
use jiff::Timestamp;
use table::State;

const STYLE: &str = include_str!("ui/style.css");

/// How often the page asks for itself again, in seconds.
const REFRESH: u32 = 15;

/// Queries that one pastes into Prometheus: what each answers, and the query.
const QUERIES: [(&str, &str); 5] = [
    (
        "TTFT, 95th percentile",
        "histogram_quantile(0.95, sum by (le, target, scenario) (rate(llm_probe_time_to_first_token_seconds_bucket{kind=\"any\"}[15m])))",
    ),
    (
        "Share of runs that failed",
        "sum by (target, scenario) (rate(llm_probe_failures_total[15m])) / sum by (target, scenario) (rate(llm_probe_runs_total[15m]))",
    ),
    (
        "What they failed of",
        "sum by (target, scenario, reason) (increase(llm_probe_failures_total[1h])) > 0",
    ),
    (
        "Decode speed of one stream, median tokens per second",
        "histogram_quantile(0.5, sum by (le, target, scenario) (rate(llm_probe_output_tokens_per_second_bucket{basis=\"decode\"}[15m])))",
    ),
    (
        "Probes that have not succeeded for ten minutes",
        "time() - llm_probe_last_success_timestamp_seconds > 600",
    ),
];

const LINKS: [(&str, &str); 6] = [
    ("/metrics", "what Prometheus scrapes"),
    ("/api/v1/probes", "the probes as JSON"),
    ("/api/v1/slos", "the objectives as JSON"),
    ("/sd", "targets for http_sd_configs"),
    ("/-/healthy", "the daemon is alive"),
    ("/-/ready", "its configuration is loaded"),
];

/// What the page shows.
#[derive(Clone, Debug)]
pub struct StatusView {
    /// The daemon's version.
    pub version: &'static str,
    /// When the daemon started.
    pub started: Timestamp,
    /// When the page is made.
    pub now: Timestamp,
    /// Whether the configuration in the file is the one in force.
    pub config_ok: bool,
    /// Why the last reload failed.
    pub config_error: Option<String>,
    /// Every probe and what is known of it.
    pub probes: Vec<(ProbeLabels, Standing)>,
    /// How every objective stands.
    pub slos: Vec<slo::Standing>,
    /// Targets that have no probes yet: name and why.
    pub pending: Vec<(String, String)>,
    /// Whether the runtime is the built-in fake one.
    pub simulated: bool,
    /// Which clocks stamp the runs.
    pub clocks: ClockStatus,
}

/// How many probes are in which state.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    all: usize,
    failing: usize,
    doubtful: usize,
    waiting: usize,
    good: usize,
}

impl Tally {
    fn of(probes: &[(ProbeLabels, Standing)]) -> Self {
        let mut tally = Self::default();
        for (_, standing) in probes {
            tally.all += 1;
            match State::of(standing) {
                State::Failing => tally.failing += 1,
                State::Doubtful => tally.doubtful += 1,
                State::Waiting => tally.waiting += 1,
                State::Good => tally.good += 1,
            }
        }
        tally
    }

    /// The worst of them.
    fn state(self) -> State {
        match self {
            Self { failing: 1.., .. } => State::Failing,
            Self { doubtful: 1.., .. } => State::Doubtful,
            Self { good: 1.., .. } => State::Good,
            _ => State::Waiting,
        }
    }

    /// The page in one sentence.
    fn headline(self, pending: usize) -> String {
        let noun = if self.all == 1 { "probe" } else { "probes" };
        let Self {
            all,
            failing,
            doubtful,
            ..
        } = self;
        match self.state() {
            State::Failing if failing == all && all == 1 => "The only probe is failing".to_owned(),
            State::Failing if failing == all => format!("All {all} probes failing"),
            State::Failing => format!("{failing} of {all} probes failing"),
            State::Doubtful => format!("None failing, but {doubtful} of {all} in doubt"),
            State::Good if self.waiting > 0 => "Good so far".to_owned(),
            State::Good if all == 1 => "The probe is good".to_owned(),
            State::Good => format!("All {all} probes good"),
            State::Waiting if all > 0 => format!("{all} {noun} waiting for the first run"),
            State::Waiting if pending == 1 => "Waiting for one target".to_owned(),
            State::Waiting if pending > 0 => format!("Waiting for {pending} targets"),
            State::Waiting => "Nothing to probe yet".to_owned(),
        }
    }

    /// The numbers beneath it.
    fn line(self, pending: usize) -> String {
        let noun = if self.all == 1 { "probe" } else { "probes" };
        let mut parts = vec![
            format!("{} {noun}", self.all),
            format!("{} failing", self.failing),
        ];
        if self.doubtful > 0 {
            parts.push(format!("{} in doubt", self.doubtful));
        }
        parts.push(format!("{} never run", self.waiting));
        if pending > 0 {
            let noun = if pending == 1 { "target" } else { "targets" };
            parts.push(format!("{pending} {noun} pending"));
        }
        parts.join(" · ")
    }
}

/// The page.
pub fn status_page(view: &StatusView) -> String {
    let tally = Tally::of(&view.probes);
    let headline = tally.headline(view.pending.len());
    let table = match view.probes.is_empty() {
        true => String::new(),
        false => table::table(&view.probes, view.now),
    };
    let empty = view.probes.is_empty() && view.pending.is_empty();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"robots\" content=\"noindex\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH}\">\
         <title>{headline} – Sonde</title>{icon}<style>{STYLE}</style></head>\
         <body>{header}<main>{banners}{verdict}{table}{slos}{pending}{first_steps}{queries}</main>{footer}</body></html>\n",
        icon = icon(tally.state()),
        header = header(view),
        banners = banners(view),
        verdict = verdict(view, tally, &headline),
        slos = slos::section(&view.slos, view.now),
        pending = pending(&view.pending),
        first_steps = if empty { FIRST_STEPS } else { "" },
        queries = if empty { String::new() } else { queries() },
        footer = footer(),
    )
}

/// The tab's icon, in the shape and colour of the worst state.
fn icon(state: State) -> String {
    let (shape, colour) = match state {
        State::Failing => ("%3Cpath d='M5 1h6l4 4v6l-4 4H5l-4-4V5z' ", "d92d20"),
        State::Doubtful => ("%3Cpath d='M8 .8l7.6 13.9H.4z' ", "c98a04"),
        State::Waiting => ("%3Ccircle cx='8' cy='8' r='5' fill-opacity='.4' ", "7d8796"),
        State::Good => ("%3Ccircle cx='8' cy='8' r='7' ", "1f9d5b"),
    };
    format!(
        "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
         viewBox='0 0 16 16'%3E{shape}fill='%23{colour}'/%3E%3C/svg%3E\">"
    )
}

fn header(view: &StatusView) -> String {
    let config = match view.config_ok {
        true => "<span class=\"good\">✓ in force</span>",
        false => "<span class=\"bad\">✕ reload failed</span>",
    };
    format!(
        "<header><h1>{MARK}Sonde <small>{}</small></h1><dl>\
         <div><dt>Up</dt><dd title=\"since {}\">{}</dd></div>\
         <div><dt>Config</dt><dd>{config}</dd></div>\
         <div><dt>Clock</dt><dd title=\"{}\">{}</dd></div>\
         <div><dt>As of</dt><dd title=\"the page reloads every {REFRESH} s\">{}</dd></div></dl></header>",
        Escaped(view.version),
        utc(view.started),
        span(view.now.duration_since(view.started)),
        clocks_in_words(view.clocks),
        view.clocks.best().as_str(),
        view.now.strftime("%H:%M:%S UTC"),
    )
}

/// Why it is that clock and no better one.
fn clocks_in_words(clocks: ClockStatus) -> String {
    let wire = match clocks.wire {
        Availability::Available => "tapped",
        Availability::Off => "not wanted",
        Availability::NoPermission => "needs CAP_NET_RAW",
        Availability::Unsupported => "not on this system",
    };
    let socket = match clocks.socket {
        Availability::Available => "stamped by the kernel",
        _ => "no kernel stamps here",
    };
    format!("the best clock of a run; wire: {wire}; socket: {socket}; each run says what it got")
}

/// The product's mark: a pulse.
const MARK: &str = "<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
<path d=\"M1.5 13h5l2.5-8 4.5 15 3-10 1.5 3h4.5\"/></svg>";

fn banners(view: &StatusView) -> String {
    let mut out = String::new();
    if view.simulated {
        out.push_str(
            "<p class=\"banner\"><b>Demonstration.</b> These answers come from the built-in fake \
             runtime: the figures describe no real model.</p>",
        );
    }
    if !view.config_ok {
        let why = view.config_error.as_deref().unwrap_or("the log says why");
        out.push_str(&format!(
            "<div class=\"banner bad\"><b>The last reload failed.</b> The configuration before it is \
             still in force.<pre>{}</pre></div>",
            Escaped(why)
        ));
    }
    out
}

fn verdict(view: &StatusView, tally: Tally, headline: &str) -> String {
    let state = tally.state();
    let next = view
        .probes
        .iter()
        .filter_map(|(_, standing)| standing.next)
        .min();
    let line = match (view.probes.is_empty(), next) {
        (true, _) if view.pending.is_empty() => {
            "The daemon is running and its configuration names no target.".to_owned()
        }
        (true, _) => "Each is asked again until it answers; nothing needs a restart.".to_owned(),
        (false, Some(next)) if state == State::Waiting && next > view.now => format!(
            "{}. The first figures come after the run in {}.",
            tally.line(view.pending.len()),
            span(next.duration_since(view.now))
        ),
        _ => tally.line(view.pending.len()),
    };
    format!(
        "<section class=\"verdict {}\">{}<div><h2>{headline}</h2><p>{line}</p></div></section>",
        state.class(),
        state.sign(),
    )
}

fn pending(targets: &[(String, String)]) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let rows: String = targets
        .iter()
        .map(|(target, why)| {
            format!(
                "<li>{}<b>{}</b><span>{}</span></li>",
                State::Waiting.sign(),
                Escaped(target),
                Escaped(why)
            )
        })
        .collect();
    format!("<section class=\"pending\"><h2>Pending targets</h2><ul>{rows}</ul></section>")
}

const FIRST_STEPS: &str = "<section class=\"steps\"><h2>First steps</h2>\
<p>Point Sonde at a runtime; it finds out which one it is and which model it serves:</p>\
<pre>sonde serve --url http://127.0.0.1:11434</pre>\
<p>Or name targets and scenarios in <code>sonde.yaml</code> and reload:</p>\
<pre>scenarios:
  - {name: chat, workload: {kind: synthetic, input_tokens: 256, output_tokens: 64}}
targets:
  - {name: my-model, runtime: auto, url: \"http://127.0.0.1:11434\", scenarios: [chat]}</pre>\
<p>Nothing at hand? <code>sonde demo</code> probes a fake runtime.</p></section>";

fn queries() -> String {
    let items: String = QUERIES
        .iter()
        .map(|(question, query)| {
            format!("<dt>{question}</dt><dd><pre>{}</pre></dd>", Escaped(query))
        })
        .collect();
    format!("<section class=\"queries\"><h2>Ask Prometheus</h2><dl>{items}</dl></section>")
}

fn footer() -> String {
    let links: String = LINKS
        .iter()
        .map(|(path, what)| format!("<li><a href=\"{path}\">{path}</a> <span>{what}</span></li>"))
        .collect();
    format!("<footer><ul>{links}</ul></footer>")
}
