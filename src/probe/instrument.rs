//! Which clock a run got, and how far its figures can be from the truth.

use super::observation::{Instrument, Taint};
use super::settings::InstrumentSettings;
use super::stream::Answer;
use crate::measure::timeline::Moments;
use crate::transport::{ClockChoice, ClockKind, Stamps};
use std::time::{Duration, Instant};

/// What no clock here can see: the way of a packet between the stamp of one side and that of the other, a
/// hypervisor that stops the whole machine included. Most are off by some 10 us, 1 in 5000 by 280.
const FLOOR: Duration = Duration::from_micros(250);

/// A run's instants on one clock.
#[derive(Clone, Debug)]
pub(super) struct Clocked {
    pub(super) clock: ClockKind,
    /// We began to connect or, on a warm connection, to write.
    pub(super) start: Instant,
    /// When the request was fully written.
    pub(super) written: Option<Instant>,
    pub(super) first_byte: Option<Instant>,
    /// The terminator's last byte, else the body's.
    pub(super) end: Option<Instant>,
    pub(super) moments: Moments,
}

/// How a run began, as we saw it ourselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    /// The monotonic clock when we began to act.
    pub(super) dispatch: Instant,
    /// How long the name took to resolve and addresses to refuse, before the connection began.
    pub(super) before_connection: Duration,
    pub(super) cold: bool,
    /// The connection stood at this instant.
    pub(super) ready: Option<Instant>,
    pub(super) written: Option<Instant>,
}

/// How long our thread was kept from running.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// In the run queue until the request was written.
    pub(super) before_written: Option<Duration>,
    /// In the run queue during the whole run.
    pub(super) run_queue: Option<Duration>,
    /// Our control group was held back by its CPU quota during the run.
    pub(super) throttled: Option<Duration>,
}

impl Clocked {
    /// The run on the best clock that saw all of it.
    pub(super) fn best(
        beginning: Beginning,
        answer: Option<&Answer>,
        stamps: Option<&Stamps<'_>>,
        choice: ClockChoice,
    ) -> Self {
        let seen = stamps.and_then(|stamps| {
            let mut candidates = choice.candidates();
            candidates.find_map(|clock| Self::by(clock, beginning, answer, stamps))
        });
        seen.unwrap_or_else(|| Self {
            clock: ClockKind::User,
            start: beginning.dispatch,
            written: beginning.written,
            first_byte: None,
            end: None,
            moments: Moments::default(),
        })
    }

    /// `None` where the clock missed something: both ends of every interval come from the same clock.
    fn by(
        clock: ClockKind,
        beginning: Beginning,
        answer: Option<&Answer>,
        stamps: &Stamps<'_>,
    ) -> Option<Self> {
        let on_wire = clock == ClockKind::Wire;
        let start = match (on_wire, beginning.cold) {
            (false, _) => beginning.dispatch,
            (true, false) => stamps.request_left()?,
            (true, true) => {
                let began = stamps.connection_began()?;
                began.checked_sub(beginning.before_connection)?
            }
        };
        let at = |position: Option<u64>| match position {
            None => Some(None),
            Some(position) => stamps.arrival(clock, position).map(Some),
        };
        let said = answer.map(Answer::said);
        let end = said.and_then(|said| said.terminated);
        let moments = match said {
            None => Moments::default(),
            Some(said) => said
                .timeline
                .by(|position| stamps.arrival(clock, position))?,
        };
        Some(Self {
            clock,
            start,
            written: match on_wire {
                true => Some(stamps.request_sent()?),
                false => beginning.written,
            },
            first_byte: at(answer.and_then(|answer| answer.first_byte))?,
            end: at(end.or_else(|| answer.and_then(|answer| answer.last_byte)))?,
            moments,
        })
    }
}

/// The run's error bar: how much its figures may be too large.
pub(super) fn error_bound(
    clock: ClockKind,
    beginning: Beginning,
    answer: Option<&Answer>,
    stamps: Option<&Stamps<'_>>,
    waits: Waits,
) -> Duration {
    let of_start = match (clock, beginning.cold) {
        (ClockKind::Wire, false) => Duration::ZERO,
        // Connecting takes turns, and we may be late for each.
        (ClockKind::Wire, true) => waits.before_written.unwrap_or_default(),
        (_, cold) => {
            let written = beginning.written.zip(beginning.ready);
            let writing = written.map_or(Duration::ZERO, |(written, ready)| {
                written.saturating_duration_since(ready)
            });
            match cold {
                true => writing + waits.before_written.unwrap_or_default(),
                false => writing,
            }
        }
    };
    let of = |position: u64| {
        let stamps = stamps?;
        stamps.uncertainty(clock, position)
    };
    let said = answer.map(Answer::said);
    let tokens = said.into_iter().flat_map(|said| said.timeline.positions());
    let end = said.and_then(|said| said.terminated);
    let end = end.or_else(|| answer.and_then(|answer| answer.last_byte));
    let first = answer.and_then(|answer| answer.first_byte);
    let arrivals = tokens.chain(first).chain(end).filter_map(of).max();
    of_start + arrivals.unwrap_or_default() + FLOOR
}

/// How large an error bar may be: `figure` is the run's TTFT or, without a stream, its inference time.
pub(super) fn error_limit(settings: &InstrumentSettings, figure: Duration) -> Duration {
    settings
        .max_error
        .max(figure.mul_f64(settings.max_error_ratio))
}

/// Why the run's figures cannot be trusted, if they cannot.
pub(super) fn taint(
    instrument: &Instrument,
    settings: &InstrumentSettings,
    limit: Duration,
) -> Option<Taint> {
    // The tap saw the run also while we slept.
    let lag = instrument
        .schedule_lag
        .filter(|_| instrument.clock != ClockKind::Wire);
    if lag.is_some_and(|lag| lag > settings.max_schedule_lag) {
        return Some(Taint::ScheduleLag);
    }
    let bound = instrument.error_bound?;
    if bound <= limit {
        return None;
    }
    let most_of_it = |wait: Option<Duration>| wait.is_some_and(|wait| wait * 2 >= bound);
    Some(match () {
        () if most_of_it(instrument.throttled) => Taint::Throttled,
        () if most_of_it(instrument.run_queue_delay) => Taint::RunQueue,
        () => Taint::MergedReads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn instrument(bound: u64) -> Instrument {
        Instrument {
            clock: ClockKind::Socket,
            error_bound: Some(ms(bound)),
            ..Instrument::example()
        }
    }

    #[test]
    fn the_limit_is_absolute_or_a_share_whichever_is_larger() {
        let settings = InstrumentSettings::default();
        assert_eq!(error_limit(&settings, ms(20)), ms(5));
        assert_eq!(error_limit(&settings, ms(400)), ms(20));
    }

    #[test]
    fn a_bound_beyond_its_limit_taints_and_says_who_is_to_blame() {
        let settings = InstrumentSettings::default();
        let judge = |instrument: &Instrument| taint(instrument, &settings, ms(5));
        assert_eq!(judge(&instrument(5)), None);
        let mut bad = instrument(20);
        assert_eq!(judge(&bad), Some(Taint::MergedReads));
        bad.run_queue_delay = Some(ms(15));
        assert_eq!(judge(&bad), Some(Taint::RunQueue));
        bad.throttled = Some(ms(80));
        assert_eq!(judge(&bad), Some(Taint::Throttled));
    }

    #[test]
    fn a_late_start_taints_unless_the_tap_saw_the_run() {
        let settings = InstrumentSettings::default();
        let mut late = instrument(1);
        late.schedule_lag = Some(ms(80));
        assert_eq!(taint(&late, &settings, ms(5)), Some(Taint::ScheduleLag));
        late.clock = ClockKind::Wire;
        assert_eq!(taint(&late, &settings, ms(5)), None);
    }
}
