//! Everything that is remembered of one probe.

use super::buckets;
use super::histogram::{Edges, Histogram};
use crate::base::clock::unix_seconds;
use crate::base::label::ProbeLabels;
use crate::measure::tokens::TokenSource;
use crate::probe::{
    ConnectionPolicy, ConnectionState, Contamination, Observation, Outcome, Probe, Taint,
};
use crate::record::{MissReason, SkipReason, Tick};
use crate::slo::Objective;
use crate::transport::ClockKind;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What decides which series a probe has.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeShape {
    /// The connection that its runs use.
    pub connection: ConnectionState,
    /// Without a stream there is no TTFT, ITL, TPOT or decode speed.
    pub streamed: bool,
    /// Vectors or ranks are no tokens: there is no speed of output, but one of input.
    pub writes_text: bool,
    /// Whether its tokens have a price.
    pub priced: bool,
    /// The objectives that speak of it.
    pub objectives: Vec<Objective>,
}

impl ProbeShape {
    /// The shape of a probe, with those of the objectives that speak of it.
    pub fn of(probe: &Probe, objectives: &[Objective]) -> Self {
        let settings = &probe.scenario.settings;
        Self {
            connection: match settings.connection {
                ConnectionPolicy::Cold => ConnectionState::Cold,
                ConnectionPolicy::Warm => ConnectionState::Warm,
            },
            streamed: settings.stream,
            writes_text: settings.retrieval.is_none(),
            priced: probe.target.settings.price.is_some(),
            objectives: matching(probe, objectives),
        }
    }
}

/// Those of the objectives that speak of a probe.
fn matching(probe: &Probe, objectives: &[Objective]) -> Vec<Objective> {
    let labels = &probe.labels;
    let own = &probe.target.settings.labels;
    let speaks = |objective: &&Objective| {
        let selector = &objective.selector;
        selector.matches(&labels.target, own, &labels.scenario)
    };
    objectives.iter().filter(speaks).cloned().collect()
}

/// Which tokens a count is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TokenType {
    Input,
    Output,
    Cached,
    Reasoning,
}

impl TokenType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Cached => "cached",
            Self::Reasoning => "reasoning",
        }
    }
}

/// The edges that a probe's histograms share.
#[derive(Debug)]
struct ProbeEdges {
    first_token: Edges,
    gap: Edges,
    inference: Edges,
    phase: Edges,
    instrument: Edges,
}

#[derive(Debug)]
pub(super) struct StreamHistograms {
    pub(super) first_token_any: Histogram,
    pub(super) first_token_visible: Histogram,
    pub(super) inter_token: Histogram,
    pub(super) per_output_token: Histogram,
    pub(super) max_stall: Histogram,
    pub(super) decode_tps: Histogram,
    pub(super) tokens_per_arrival: Histogram,
}

/// The last run's figures. Empty after a failure.
#[derive(Debug, Default)]
pub(super) struct LastRun {
    pub(super) first_token: Option<f64>,
    pub(super) inference: Option<f64>,
    pub(super) output_tps: Option<f64>,
    pub(super) cpu_per_token: Option<f64>,
    pub(super) energy_per_token: Option<f64>,
}

#[derive(Debug)]
pub(super) struct ProbeSeries {
    pub(super) labels: ProbeLabels,
    pub(super) shape: ProbeShape,
    pub(super) created: Timestamp,
    edges: ProbeEdges,
    pub(super) first_byte: Histogram,
    pub(super) stream: Option<Box<StreamHistograms>>,
    pub(super) inference: [Histogram; 2],
    pub(super) duration: [Histogram; 2],
    pub(super) phases: BTreeMap<&'static str, Histogram>,
    pub(super) server: BTreeMap<&'static str, Histogram>,
    pub(super) unattributed: Option<Histogram>,
    /// Tokens per second from end to end: of the output, or of the input where there is none.
    pub(super) end_to_end_tps: Histogram,
    /// Texts that were embedded or ranked.
    pub(super) inputs: u64,
    pub(super) schedule_lag: Histogram,
    pub(super) stamp_delay: Histogram,
    pub(super) error_bound: Histogram,
    pub(super) runs: u64,
    pub(super) failures: BTreeMap<Outcome, u64>,
    pub(super) tainted: [u64; Taint::ALL.len()],
    pub(super) contaminated: [u64; Contamination::ALL.len()],
    /// Runs of which the runtime claims more time than there was.
    pub(super) overclaimed: u64,
    /// USD by what they were spent on.
    pub(super) cost: BTreeMap<TokenType, f64>,
    pub(super) clocks: [u64; ClockKind::ALL.len()],
    pub(super) scheduled: u64,
    pub(super) missed: [u64; MissReason::ALL.len()],
    pub(super) skipped: [u64; SkipReason::ALL.len()],
    pub(super) tokens: BTreeMap<(TokenType, TokenSource), u64>,
    /// Of the runs in which they could be measured; absent before the first.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) energy_joules: Option<f64>,
    pub(super) success: Option<bool>,
    pub(super) last: LastRun,
    pub(super) last_run: Option<f64>,
    pub(super) last_success: Option<f64>,
    pub(super) next_run: Option<f64>,
}

impl ProbeSeries {
    pub(super) fn new(
        labels: ProbeLabels,
        shape: ProbeShape,
        classic: bool,
        now: Timestamp,
    ) -> Self {
        let edges = ProbeEdges::of(&shape.objectives, classic);
        let tps = match shape.writes_text {
            true => buckets::TOKENS_PER_SECOND,
            false => buckets::INPUT_TOKENS_PER_SECOND,
        };
        let tps = edges_of(tps, &[], classic);
        let decode_tps = decode_edges(&shape.objectives, classic);
        let inference = || Histogram::new(&edges.inference);
        Self {
            first_byte: Histogram::new(&edges.first_token),
            stream: shape
                .streamed
                .then(|| Box::new(StreamHistograms::new(&edges, &decode_tps, classic))),
            inference: [inference(), inference()],
            duration: [inference(), inference()],
            phases: BTreeMap::new(),
            server: BTreeMap::new(),
            unattributed: None,
            end_to_end_tps: Histogram::new(&tps),
            inputs: 0,
            schedule_lag: Histogram::new(&edges.instrument),
            stamp_delay: Histogram::new(&edges.instrument),
            error_bound: Histogram::new(&edges.instrument),
            runs: 0,
            failures: BTreeMap::new(),
            tainted: Default::default(),
            contaminated: Default::default(),
            overclaimed: 0,
            cost: BTreeMap::new(),
            clocks: Default::default(),
            scheduled: 0,
            missed: Default::default(),
            skipped: Default::default(),
            tokens: BTreeMap::new(),
            cpu_seconds: None,
            energy_joules: None,
            success: None,
            last: LastRun::default(),
            last_run: None,
            last_success: None,
            next_run: None,
            created: now,
            labels,
            shape,
            edges,
        }
    }

    /// Goes on where the series of the same probe stood before its objectives changed: everything
    /// that does not depend on bucket edges.
    pub(super) fn inherit(&mut self, old: Self) {
        self.created = old.created;
        self.runs = old.runs;
        self.failures = old.failures;
        self.tainted = old.tainted;
        self.contaminated = old.contaminated;
        self.overclaimed = old.overclaimed;
        self.cost = old.cost;
        self.clocks = old.clocks;
        self.scheduled = old.scheduled;
        self.missed = old.missed;
        self.skipped = old.skipped;
        self.tokens = old.tokens;
        self.inputs = old.inputs;
        self.cpu_seconds = old.cpu_seconds;
        self.energy_joules = old.energy_joules;
        self.success = old.success;
        self.last = old.last;
        self.last_run = old.last_run;
        self.last_success = old.last_success;
        self.next_run = old.next_run;
    }

    /// What is scheduled and neither run, missed nor skipped yet.
    pub(super) fn in_flight(&self) -> u64 {
        let ended = self.runs + self.missed.iter().sum::<u64>() + self.skipped.iter().sum::<u64>();
        self.scheduled.saturating_sub(ended)
    }

    pub(super) fn tick(&mut self, tick: Tick) {
        let bump = |cell: Option<&mut u64>| {
            if let Some(cell) = cell {
                *cell += 1;
            }
        };
        match tick {
            Tick::Scheduled => self.scheduled += 1,
            Tick::Late(count) => {
                self.scheduled += count;
                if let Some(cell) = self.missed.get_mut(MissReason::Late as usize) {
                    *cell += count;
                }
            }
            Tick::Missed(reason) => bump(self.missed.get_mut(reason as usize)),
            Tick::Skipped(reason) => bump(self.skipped.get_mut(reason as usize)),
            Tick::Next(at) => self.next_run = at.map(unix_seconds),
        }
    }

    pub(super) fn observe(&mut self, run: &Observation) {
        self.runs += 1;
        self.last_run = Some(unix_seconds(run.ended));
        self.count_tokens(run);
        self.count_cost(run);
        let contaminated = run.contamination.map(|reason| reason as usize);
        if let Some(cell) = contaminated.and_then(|index| self.contaminated.get_mut(index)) {
            *cell += 1;
        }
        for (sum, used) in [
            (&mut self.cpu_seconds, run.resources.cpu_seconds),
            (&mut self.energy_joules, run.resources.energy_joules),
        ] {
            if let Some(used) = used {
                *sum.get_or_insert(0.0) += used;
            }
        }
        self.observe_instrument(run);
        // A tainted run is nobody's success and nobody's failure: its figures are not to be trusted.
        if run.is_tainted() {
            return;
        }
        self.success = Some(run.outcome.is_success());
        if run.outcome.is_success() {
            let first_token = run.latency.first_token.filter(|_| !run.skipped_prefill());
            self.last_success = self.last_run;
            self.last = LastRun {
                first_token: first_token.map(|time| time.as_secs_f64()),
                inference: Some(run.latency.inference.as_secs_f64()),
                output_tps: run.latency.decode_tps.or(run.latency.end_to_end_tps),
                cpu_per_token: run.per_output_token(run.resources.cpu_seconds),
                energy_per_token: run.per_output_token(run.resources.energy_joules),
            };
        } else {
            *self.failures.entry(run.outcome).or_default() += 1;
            self.last = LastRun::default();
        }
        self.observe_latency(run);
    }

    /// Of tainted runs as well: this is where their taint comes from.
    fn observe_instrument(&mut self, run: &Observation) {
        let (id, at) = (run.run_id, run.ended);
        let instrument = &run.instrument;
        if let Some(cell) = self.clocks.get_mut(instrument.clock as usize) {
            *cell += 1;
        }
        let tainted = instrument.taint.map(|taint| taint as usize);
        if let Some(cell) = tainted.and_then(|index| self.tainted.get_mut(index)) {
            *cell += 1;
        }
        if let Some(lag) = instrument.schedule_lag {
            self.schedule_lag.observe(lag.as_secs_f64(), id, at);
        }
        if let Some(bound) = instrument.error_bound {
            self.error_bound.observe(bound.as_secs_f64(), id, at);
        }
        for delay in &run.stamp_delays {
            self.stamp_delay.observe(delay.as_secs_f64(), id, at);
        }
    }

    fn count_tokens(&mut self, run: &Observation) {
        let Some(tokens) = run.tokens else {
            return;
        };
        let usage = tokens.usage;
        for (kind, count) in [
            (TokenType::Input, usage.input),
            (TokenType::Output, usage.output),
            (TokenType::Cached, usage.cached),
            (TokenType::Reasoning, usage.reasoning),
        ] {
            if let Some(count) = count {
                *self.tokens.entry((kind, tokens.source)).or_default() += count;
            }
        }
    }

    fn count_cost(&mut self, run: &Observation) {
        let Some(cost) = run.cost_usd else {
            return;
        };
        for (kind, usd) in [
            (TokenType::Input, cost.input),
            (TokenType::Output, cost.output),
            (TokenType::Cached, cost.cached),
        ] {
            *self.cost.entry(kind).or_default() += usd.unwrap_or(0.0);
        }
    }

    /// Latencies of valid runs. A failure has a whole (until its verdict), but no parts that could
    /// stand beside those of good runs.
    fn observe_latency(&mut self, run: &Observation) {
        let (id, at) = (run.run_id, run.ended);
        let good = run.outcome.is_success();
        for (pair, time) in [
            (&mut self.inference, run.latency.inference),
            (&mut self.duration, run.duration),
        ] {
            if let Some(histogram) = pair.get_mut(usize::from(!good)) {
                histogram.observe(time.as_secs_f64(), id, at);
            }
        }
        if !good {
            return;
        }
        for (phase, time) in run.phases.iter() {
            let histogram = self.phases.entry(phase);
            let histogram = histogram.or_insert_with(|| Histogram::new(&self.edges.phase));
            histogram.observe(time.as_secs_f64(), id, at);
        }
        let observe = |histogram: &mut Histogram, time: Option<Duration>| {
            if let Some(time) = time {
                histogram.observe(time.as_secs_f64(), id, at);
            }
        };
        let latency = &run.latency;
        // A cold scenario's prefill that a cache took away makes both look better than they are.
        let skipped = run.skipped_prefill();
        let prefilled = |time: Option<Duration>| time.filter(|_| !skipped);
        observe(&mut self.first_byte, prefilled(latency.first_byte));
        for (phase, time) in run.server.phases() {
            let histogram = self.server.entry(phase);
            let histogram = histogram.or_insert_with(|| Histogram::new(&self.edges.inference));
            histogram.observe(time.as_secs_f64(), id, at);
        }
        if let Some(split) = run.attribution {
            // The edges of phases: what is left over is a hop or two, far below those of whole answers.
            let fresh = || Histogram::new(&self.edges.phase);
            let histogram = self.unattributed.get_or_insert_with(fresh);
            observe(histogram, Some(split.unattributed));
            self.overclaimed += u64::from(!split.excess.is_zero());
        }
        self.inputs += u64::from(run.inputs.unwrap_or(0));
        if let Some(tps) = latency.input_tps.or(latency.end_to_end_tps) {
            self.end_to_end_tps.observe(tps, id, at);
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        observe(&mut stream.first_token_any, prefilled(latency.first_token));
        observe(
            &mut stream.first_token_visible,
            prefilled(latency.first_visible),
        );
        observe(&mut stream.per_output_token, latency.per_output_token);
        observe(&mut stream.max_stall, latency.max_stall);
        for gap in &run.gaps {
            observe(&mut stream.inter_token, Some(*gap));
        }
        if let Some(tps) = latency.decode_tps {
            stream.decode_tps.observe(tps, id, at);
        }
        for count in &run.tokens_per_arrival {
            stream.tokens_per_arrival.observe(f64::from(*count), id, at);
        }
    }
}

impl StreamHistograms {
    fn new(edges: &ProbeEdges, decode_tps: &Edges, classic: bool) -> Self {
        let per_arrival = edges_of(buckets::TOKENS_PER_ARRIVAL, &[], classic);
        Self {
            first_token_any: Histogram::new(&edges.first_token),
            first_token_visible: Histogram::new(&edges.first_token),
            inter_token: Histogram::new(&edges.gap),
            per_output_token: Histogram::new(&edges.gap),
            max_stall: Histogram::new(&edges.gap),
            decode_tps: Histogram::new(decode_tps),
            tokens_per_arrival: Histogram::new(&per_arrival),
        }
    }
}

fn edges_of(edges: &[f64], thresholds: &[f64], classic: bool) -> Edges {
    match classic {
        true => buckets::with_edges(edges, thresholds).into(),
        false => Edges::from([]),
    }
}

fn decode_edges(objectives: &[Objective], classic: bool) -> Edges {
    let wanted = objectives
        .iter()
        .filter_map(|o| o.conditions.decode_tps_over);
    edges_of(
        buckets::TOKENS_PER_SECOND,
        &wanted.collect::<Vec<_>>(),
        classic,
    )
}

impl ProbeEdges {
    fn of(objectives: &[Objective], classic: bool) -> Self {
        let pick = |of: &[fn(&Objective) -> Option<Duration>]| -> Vec<f64> {
            let all = objectives
                .iter()
                .flat_map(|o| of.iter().filter_map(move |f| f(o)));
            all.map(|time| time.as_secs_f64()).collect()
        };
        let first_token = pick(&[
            |o| o.conditions.first_token_under,
            |o| o.conditions.first_visible_under,
        ]);
        let gap = pick(&[
            |o| o.conditions.inter_token_p95_under,
            |o| o.conditions.per_output_token_under,
            |o| o.conditions.max_stall_under,
        ]);
        let inference = pick(&[|o| o.conditions.inference_under]);
        Self {
            first_token: edges_of(buckets::FIRST_TOKEN, &first_token, classic),
            gap: edges_of(buckets::TOKEN_GAP, &gap, classic),
            inference: edges_of(buckets::INFERENCE, &inference, classic),
            phase: edges_of(buckets::PHASE, &[], classic),
            instrument: edges_of(buckets::INSTRUMENT, &[], classic),
        }
    }
}
