//! One run beside the fake runtime's own log of it. Pure.

use crate::probe::{ConnectionState, Observation};
use crate::simulate::{RequestLog, TokenTime};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What an error is of. Always observed − true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Figure {
    /// TTFT, in seconds.
    #[serde(rename = "ttft_seconds")]
    Ttft,
    /// The stamp of each token's arrival, in seconds: the one figure that has a sample for every
    /// token, also where one read brought several.
    #[serde(rename = "token_arrival_seconds")]
    TokenArrival,
    /// Each gap between arrivals, in seconds. Where a read merged several writes, the true gap is
    /// that between the last writes of either read: a merged gap is not seen, so it has no sample.
    #[serde(rename = "itl_seconds")]
    Itl,
    /// TPOT, in seconds.
    #[serde(rename = "tpot_seconds")]
    Tpot,
    /// E2E, in seconds. Truly the stream ends with the write of its terminator.
    #[serde(rename = "e2e_seconds")]
    E2e,
    /// Decode TPS, in tokens per second.
    #[serde(rename = "decode_tokens_per_second")]
    DecodeTps,
    /// End-to-end TPS, in tokens per second.
    #[serde(rename = "end_to_end_tokens_per_second")]
    EndToEndTps,
}

impl Figure {
    /// Every figure, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::Ttft,
        Self::TokenArrival,
        Self::Itl,
        Self::Tpot,
        Self::E2e,
        Self::DecodeTps,
        Self::EndToEndTps,
    ];
}

/// The errors of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Signed errors; durations in seconds.
    pub errors: Vec<(Figure, f64)>,
    /// The largest error of any latency of the run: TTFT, E2E, or from the beginning to any token, in
    /// seconds and without its sign.
    pub largest: f64,
    /// How long the fake's system call of each write took, in seconds: the truth's own resolution.
    pub resolution: Vec<f64>,
    /// The fake's read that brought the end of the request, after the kernel had received it, in seconds.
    pub received_late: Option<f64>,
    /// Writes with tokens.
    pub writes: usize,
    /// Writes that shared an arrival with an earlier one, so that the gap between them was lost.
    pub merged: usize,
}

/// Why a run and a log cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The fake never heard of the run.
    #[error("the fake runtime has no log of the run")]
    Unknown,
    /// One side has no first or no last instant.
    #[error("the run or the log has no token or no end")]
    Empty,
    /// The arrivals cannot be made of the writes.
    #[error("{arrived} tokens arrived in reads that do not fit the {written} written")]
    Tokens {
        /// Tokens that the prober saw.
        arrived: u64,
        /// Tokens that the fake wrote.
        written: u64,
    },
}

/// What a perfect observer would have seen: an instant within a system call.
#[derive(Clone, Copy, Debug)]
struct Truth {
    from: Instant,
    to: Instant,
}

impl Truth {
    fn of(write: &TokenTime) -> Self {
        Self {
            from: write.at,
            to: write.written,
        }
    }

    /// How far outside the instant was stamped, in seconds.
    fn error(self, stamp: Instant) -> f64 {
        match stamp {
            stamp if stamp < self.from => signed(stamp, self.from),
            stamp if stamp > self.to => signed(stamp, self.to),
            _ => 0.0,
        }
    }
}

/// Compares a good run with the fake's log of it.
///
/// # Errors
/// When one of them lacks what the other has. Such a run must not count as a good one.
pub fn join(run: &Observation, log: &RequestLog) -> Result<Joined, Mismatch> {
    let writes = &log.token_times;
    let (Some(first), Some(last)) = (writes.first(), writes.last()) else {
        return Err(Mismatch::Empty);
    };
    let (Some(first_token), Some(from), Some(to)) = (
        run.latency.first_token,
        log.last_frame,
        log.last_frame_written,
    ) else {
        return Err(Mismatch::Empty);
    };
    let end = Truth { from, to };
    let start = true_start(run, log);
    // A beginning stamped early makes every latency too large.
    let early = signed(start, run.dispatched);
    let arrivals = arrivals(run.dispatched + first_token, &run.gaps);
    let groups = group(&run.tokens_per_arrival, writes)?;
    if arrivals.len() != groups.len() {
        return Err(mismatch(&run.tokens_per_arrival, writes));
    }
    let ttft = early + Truth::of(first).error(run.dispatched + first_token);
    let e2e = early + end.error(run.dispatched + run.latency.inference);
    let mut errors = vec![(Figure::Ttft, ttft), (Figure::E2e, e2e)];
    let mut largest = ttft.abs().max(e2e.abs());
    for (at, group) in arrivals.iter().zip(&groups) {
        for error in group.iter().map(|write| Truth::of(write).error(*at)) {
            errors.push((Figure::TokenArrival, error));
            largest = largest.max((early + error).abs());
        }
    }
    errors.extend(gap_errors(&arrivals, &groups));
    let tokens: u64 = writes.iter().map(|write| u64::from(write.tokens)).sum();
    let steps = tokens.saturating_sub(1) as f64;
    let inference = signed(end.from, start);
    let decode = signed(last.at, first.at);
    if let Some(observed) = run.latency.per_output_token.filter(|_| steps > 0.0) {
        errors.push((Figure::Tpot, observed.as_secs_f64() - decode / steps));
    }
    if let Some(observed) = run.latency.decode_tps.filter(|_| decode > 0.0) {
        errors.push((Figure::DecodeTps, observed - steps / decode));
    }
    if let Some(observed) = run.latency.end_to_end_tps.filter(|_| inference > 0.0) {
        errors.push((Figure::EndToEndTps, observed - tokens as f64 / inference));
    }
    let took = |write: &TokenTime| signed(write.written, write.at);
    Ok(Joined {
        errors,
        largest,
        resolution: writes.iter().map(took).collect(),
        received_late: log
            .received_kernel
            .map(|kernel| signed(log.received, kernel)),
        writes: writes.len(),
        merged: writes.len().saturating_sub(groups.len()),
    })
}

/// When the request left: on loopback, when the fake's kernel received it. A cold run begins before
/// there is a request, so there the prober's word has to do.
fn true_start(run: &Observation, log: &RequestLog) -> Instant {
    match (run.connection, log.received_kernel) {
        (ConnectionState::Warm, Some(kernel)) => kernel,
        _ => run.dispatched,
    }
}

/// The errors of gaps between arrivals. Where an arrival merged several writes, the true gap is that
/// between the last writes of either.
fn gap_errors(arrivals: &[Instant], groups: &[&[TokenTime]]) -> Vec<(Figure, f64)> {
    let late = arrivals.iter().zip(groups).filter_map(|(at, group)| {
        let write = group.last()?;
        Some(Truth::of(write).error(*at))
    });
    let late: Vec<f64> = late.collect();
    let pairs = late.iter().zip(late.iter().skip(1));
    pairs.map(|(from, to)| (Figure::Itl, to - from)).collect()
}

/// When each arrival was stamped.
fn arrivals(first: Instant, gaps: &[Duration]) -> Vec<Instant> {
    let mut at = first;
    let mut arrivals = vec![first];
    for gap in gaps {
        at += *gap;
        arrivals.push(at);
    }
    arrivals
}

/// The writes that each arrival brought: as many as carry its tokens.
fn group<'a>(
    tokens_per_arrival: &[u32],
    writes: &'a [TokenTime],
) -> Result<Vec<&'a [TokenTime]>, Mismatch> {
    let mut rest = writes;
    let mut groups = Vec::with_capacity(tokens_per_arrival.len());
    for wanted in tokens_per_arrival {
        let mut found = 0;
        let mut count = 0;
        for write in rest.iter().take_while(|write| write.tokens > 0) {
            if found >= *wanted {
                break;
            }
            found += write.tokens;
            count += 1;
        }
        if found != *wanted {
            return Err(mismatch(tokens_per_arrival, writes));
        }
        let (group, after) = rest.split_at(count);
        groups.push(group);
        rest = after;
    }
    match rest.is_empty() {
        true => Ok(groups),
        false => Err(mismatch(tokens_per_arrival, writes)),
    }
}

fn mismatch(tokens_per_arrival: &[u32], writes: &[TokenTime]) -> Mismatch {
    Mismatch::Tokens {
        arrived: tokens_per_arrival.iter().copied().map(u64::from).sum(),
        written: writes.iter().map(|write| u64::from(write.tokens)).sum(),
    }
}

/// `later − earlier` in seconds, whichever came first.
fn signed(later: Instant, earlier: Instant) -> f64 {
    match later.checked_duration_since(earlier) {
        Some(ahead) => ahead.as_secs_f64(),
        None => -earlier.duration_since(later).as_secs_f64(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::{Outcome, Probe, Prober, RunContext};
    use tokio_util::sync::CancellationToken;

    /// The fake's times of writing after dispatch, terminator last.
    const WRITTEN: [u64; 5] = [100, 120, 140, 160, 161];

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A run that saw the same number of tokens `late` after they were written, and its log.
    pub(in crate::selftest) fn run(late: Duration) -> (Observation, RequestLog) {
        let context = RunContext::on_demand(CancellationToken::new());
        let mut run = Prober::default().aborted(&Probe::example(), &context);
        let written = WRITTEN.map(ms);
        let [first, .., last, end] = written;
        run.outcome = Outcome::Success;
        run.failure = None;
        run.latency.first_token = Some(first + late);
        run.latency.inference = end + late;
        run.latency.per_output_token = Some((last - first) / 3);
        run.latency.decode_tps = Some(3.0 / (last - first).as_secs_f64());
        run.latency.end_to_end_tps = Some(4.0 / (end + late).as_secs_f64());
        run.gaps = vec![ms(20); 3];
        run.tokens_per_arrival = vec![1; 4];
        let token = |at: &Duration| TokenTime {
            at: run.dispatched + *at,
            written: run.dispatched + *at,
            tokens: 1,
            reasoning: false,
        };
        let token_times: Vec<TokenTime> = written.iter().take(4).map(token).collect();
        let log = RequestLog {
            number: 0,
            request_id: Some(run.run_id.to_string()),
            model: "m".to_owned(),
            received: run.dispatched + ms(2),
            received_kernel: None,
            first_token: token_times.first().map(|write| write.at),
            token_times,
            last_frame: Some(run.dispatched + end),
            last_frame_written: Some(run.dispatched + end),
            ended: None,
            fault: None,
        };
        (run, log)
    }

    fn errors_in_us(joined: &Joined, figure: Figure) -> Vec<i64> {
        let of = joined.errors.iter().filter(|(of, _)| *of == figure);
        of.map(|(_, error)| (error * 1e6).round() as i64).collect()
    }

    #[test]
    fn a_run_that_saw_every_write_at_once_has_no_error() {
        let (run, log) = run(Duration::ZERO);
        let joined = join(&run, &log).unwrap();
        for figure in Figure::ALL {
            let errors = errors_in_us(&joined, figure);
            assert!(!errors.is_empty(), "{figure:?}");
            assert!(errors.iter().all(|error| *error == 0), "{figure:?}");
        }
        assert_eq!((joined.writes, joined.merged), (4, 0));
        assert_eq!(joined.largest, 0.0);
        assert_eq!(joined.received_late, None);
    }

    #[test]
    fn a_delay_between_arrival_and_stamp_is_reported_in_full() {
        let (run, log) = run(ms(7));
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [7000]);
        assert_eq!(errors_in_us(&joined, Figure::TokenArrival), [7000; 4]);
        assert_eq!(errors_in_us(&joined, Figure::E2e), [7000]);
        assert_eq!(errors_in_us(&joined, Figure::Itl), [0; 3]);
        assert_eq!(errors_in_us(&joined, Figure::Tpot), [0]);
        let slower: f64 = 4.0 / 0.168 - 4.0 / 0.161;
        let [speed] = errors_in_us(&joined, Figure::EndToEndTps)[..] else {
            panic!("one run has one speed");
        };
        assert_eq!(speed, (slower * 1e6).round() as i64);
    }

    #[test]
    fn one_late_read_lengthens_one_gap_and_shortens_the_next() {
        let (mut run, log) = run(Duration::ZERO);
        run.gaps = vec![ms(20), ms(33), ms(7)];
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Itl), [0, 13_000, -13_000]);
        assert_eq!(
            errors_in_us(&joined, Figure::TokenArrival),
            [0, 0, 13_000, 0]
        );
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [0]);
    }

    #[test]
    fn a_read_that_merged_writes_is_compared_with_the_last_of_them() {
        let (mut run, log) = run(Duration::ZERO);
        // The second token was read with the third.
        run.gaps = vec![ms(41), ms(19)];
        run.tokens_per_arrival = vec![1, 2, 1];
        let joined = join(&run, &log).unwrap();
        assert_eq!((joined.writes, joined.merged), (4, 1));
        assert_eq!(errors_in_us(&joined, Figure::Itl), [1000, -1000]);
        assert_eq!(
            errors_in_us(&joined, Figure::TokenArrival),
            [0, 21_000, 1000, 0]
        );
    }

    #[test]
    fn a_stamp_within_the_system_call_has_no_error() {
        let (run, mut log) = run(ms(1));
        for write in &mut log.token_times {
            write.written += ms(3);
        }
        log.last_frame_written = log.last_frame_written.map(|at| at + ms(3));
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [0]);
        assert_eq!(joined.largest, 0.0);
        assert_eq!(joined.resolution, [0.003; 4]);
    }

    #[test]
    fn a_request_that_left_later_than_stamped_makes_every_latency_too_large() {
        let (mut run, mut log) = run(Duration::ZERO);
        log.received_kernel = Some(run.dispatched + ms(9));
        run.connection = ConnectionState::Warm;
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [9000]);
        assert_eq!(errors_in_us(&joined, Figure::E2e), [9000]);
        assert_eq!(errors_in_us(&joined, Figure::TokenArrival), [0; 4]);
        assert!((joined.largest - 0.009).abs() < 1e-9);
        run.connection = ConnectionState::Cold;
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [0]);
    }

    #[test]
    fn a_stamp_before_the_write_is_a_negative_error() {
        let (mut run, log) = run(Duration::ZERO);
        run.latency.first_token = Some(ms(99));
        let joined = join(&run, &log).unwrap();
        assert_eq!(errors_in_us(&joined, Figure::Ttft), [-1000]);
    }

    #[test]
    fn what_does_not_fit_is_no_silent_loss() {
        let (good, log) = run(Duration::ZERO);
        for arrived in [vec![1; 3], vec![1, 1, 3], vec![1; 5]] {
            let mut run = good.clone();
            run.tokens_per_arrival = arrived.clone();
            let mismatch = Mismatch::Tokens {
                arrived: arrived.iter().copied().map(u64::from).sum(),
                written: 4,
            };
            assert_eq!(join(&run, &log), Err(mismatch), "{arrived:?}");
        }
        let mut blind = good.clone();
        blind.latency.first_token = None;
        assert_eq!(join(&blind, &log), Err(Mismatch::Empty));
    }
}
