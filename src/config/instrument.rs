//! How runs are stamped, and when Sonde measures itself.

use super::cadence::{self, CadenceText};
use super::problem::Problem;
use super::raw::{RawClock, RawInstrument, RawSelftest};
use super::resolve::Context;
use crate::probe::InstrumentSettings;
use crate::schedule::Cadence;
use crate::transport::{ClockChoice, ClockKind};

pub(super) fn instrument(raw: RawInstrument, context: &mut Context<'_>) -> InstrumentSettings {
    let RawInstrument {
        clock,
        max_error,
        max_error_ratio,
        max_schedule_lag,
    } = raw;
    let standard = InstrumentSettings::default();
    if max_error.is_some_and(|limit| limit.0.is_zero()) {
        let remedy = "write the error that is of no account to you, such as `5ms`";
        let problem = Problem::new("instrument.max_error", "would taint every run", remedy);
        context.findings.add(problem.found("0"));
    }
    InstrumentSettings {
        clock: match clock {
            None | Some(RawClock::Auto) => ClockChoice::Auto,
            Some(RawClock::Wire) => ClockChoice::Best(ClockKind::Wire),
            Some(RawClock::Socket) => ClockChoice::Best(ClockKind::Socket),
            Some(RawClock::User) => ClockChoice::Best(ClockKind::User),
        },
        max_error: max_error.map_or(standard.max_error, |limit| limit.0),
        max_error_ratio: max_error_ratio.map_or(standard.max_error_ratio, |ratio| ratio.0),
        max_schedule_lag: max_schedule_lag.map_or(standard.max_schedule_lag, |lag| lag.0),
    }
}

pub(super) fn selftest(raw: &RawSelftest, context: &mut Context<'_>) -> Option<Cadence> {
    let RawSelftest { schedule } = raw;
    let own = CadenceText {
        schedule: Some(schedule.as_deref()?),
        timezone: Some(super::defaults::TIMEZONE),
        offset: Some("auto"),
    };
    cadence::cadence("selftest", own, CadenceText::default(), context)
}
