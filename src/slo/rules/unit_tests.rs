//! promtool's unit tests for the rules: stories about one probe, and what may fire in them.

use super::super::burn::LEAST_BAD;
use super::generate::{ABSENT_HOLD, Cadence};
use super::story::{Fate, Story, span};
use super::yaml::{Node, document, map};
use super::{BURN_FAST, BURN_SLOW, DATA_ABSENT};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Scrape intervals that one failed run is tried with.
const SCRAPES: [Duration; 2] = [Duration::from_secs(15), MINUTE];

/// A total outage pages within a quarter of an hour, or within five runs where those last longer.
const PAGE_WITHIN: Duration = Duration::from_secs(15 * 60);
const PAGE_RUNS: u32 = 5;

/// Every evaluation adds up all that was told before, so the time for a story grows with its square.
const LONGEST_STORY: Duration = Duration::from_secs(4 * 3600);

pub(super) fn render(cadences: &[Cadence<'_>], rule_file: &str) -> String {
    // No divisor of the scrapes' intervals: each evaluation meets another phase between two scrapes. As
    // rare as the fastest probe allows, since the stories of slow ones last for days.
    let fastest = cadences.iter().map(|cadence| cadence.interval).min();
    let step = match fastest.is_some_and(|fastest| fastest >= MINUTE * 5) {
        true => Duration::from_secs(100),
        false => Duration::from_secs(50),
    };
    let tests = cadences.iter().flat_map(|cadence| stories(cadence, step));
    document(&map([
        ("rule_files", Node::List(vec![rule_file.into()])),
        ("evaluation_interval", span(step).into()),
        (
            "tests",
            Node::List(tests.map(|story| story.node()).collect()),
        ),
    ]))
}

fn stories(cadence: &Cadence<'_>, step: Duration) -> Vec<Story> {
    let mut stories = Vec::new();
    for scrape in SCRAPES {
        for failed in [0, 1, 4] {
            stories.push(one_failed_run(cadence, scrape, failed));
        }
    }
    stories.extend([
        outage(cadence, step),
        series_end(cadence, step),
        series_end_within_an_outage(cadence, step),
        nothing_is_judged(cadence, step),
        restraint(cadence, step),
        restart(cadence),
    ]);
    stories.extend(slow_burn(cadence, step));
    stories
}

/// Not even pending. The windows hold nothing but what the story tells, so the share of bad runs is as
/// high as one failed run can make it.
fn one_failed_run(cadence: &Cadence<'_>, scrape: Duration, failed: u32) -> Story {
    let end = cadence.interval * (failed + 8) + 10 * MINUTE;
    let title = format!("run {} fails, scraped every {}", failed + 1, span(scrape));
    let mut story = Story::new(cadence, &title, scrape, end);
    story.tell(|index, _| match index == failed {
        true => Fate::Bad,
        false => Fate::Good,
    });
    story.never("Sonde.*", end);
    story
}

/// Nothing fires for fewer bad runs than the gate asks for; the page comes in time, and ends.
fn outage(cadence: &Cadence<'_>, step: Duration) -> Story {
    let rule = &cadence.policy.rules[0];
    let interval = cadence.interval;
    let begin = rule.long + interval * 2;
    let page = begin + page_within(cadence, step);
    let recovery = page + interval * 2;
    let longest_short = cadence.policy.of(rule.urgency).map(|rule| rule.short).max();
    let over = recovery + longest_short.unwrap_or_default() + interval + MINUTE + step * 2;
    let mut story = Story::new(
        cadence,
        "an outage pages, and recovery ends the page",
        MINUTE,
        over,
    );
    story.tell(|_, at| match at >= begin && at < recovery {
        true => Fate::Bad,
        false => Fate::Good,
    });
    story.never("Sonde.*", begin + interval * (LEAST_BAD - 1));
    story.fires(&[BURN_FAST], page);
    story.silent(BURN_FAST, over);
    story.never(DATA_ABSENT, over);
    story
}

/// As promised, or later where the objective is so lax that its threshold takes more bad runs.
fn page_within(cadence: &Cadence<'_>, step: Duration) -> Duration {
    let rule = &cadence.policy.rules[0];
    let runs = rule.long.as_secs_f64() / cadence.interval.as_secs_f64();
    let bad = (runs * rule.threshold(cadence.objective.objective)).floor() as u32 + 1;
    let seen = MINUTE + step * 2 + rule.hold;
    let needed = cadence.interval * bad.max(LEAST_BAD) + seen;
    PAGE_WITHIN.max(cadence.interval * PAGE_RUNS).max(needed)
}

/// When the alert on absent data fires at the latest, if its condition holds from this time on and
/// Prometheus scrapes so often.
fn told(from: Duration, scrape: Duration, step: Duration) -> Duration {
    from + scrape + ABSENT_HOLD + step * 2
}

fn series_end(cadence: &Cadence<'_>, step: Duration) -> Story {
    let gone = cadence.interval * 5 + 10 * MINUTE;
    let back = told(gone, MINUTE, step) + MINUTE;
    let end = back + 10 * MINUTE;
    let title = "series that end raise their own alert, which ends when they are back";
    let mut story = Story::new(cadence, title, MINUTE, end);
    story.gone = Some(gone..back);
    story.tell(|_, _| Fate::Good);
    story.fires(&[DATA_ABSENT], told(gone, MINUTE, step));
    story.silent(DATA_ABSENT, back + MINUTE + step);
    story.never("SondeObjectiveBurn.*", end);
    story
}

fn series_end_within_an_outage(cadence: &Cadence<'_>, step: Duration) -> Story {
    let [scrape, _] = SCRAPES;
    let gone = page_within(cadence, step) + cadence.interval;
    let told = told(gone, scrape, step);
    let title = "series that end within an outage are told before its page ends for want of data";
    let mut story = Story::new(cadence, title, scrape, told + MINUTE);
    story.gone = Some(gone..Duration::MAX);
    story.tell(|_, _| Fate::Bad);
    story.fires(&[BURN_FAST], gone);
    story.fires(&[BURN_FAST, DATA_ABSENT], told);
    story
}

fn nothing_is_judged(cadence: &Cadence<'_>, step: Duration) -> Story {
    let last = cadence.interval * 5 + 10 * MINUTE;
    let told = told(last + cadence.patience(), MINUTE, step);
    let title = "runs that are due and not judged are absent data";
    let mut story = Story::new(cadence, title, MINUTE, told);
    story.tell(|_, at| match at >= last {
        true => Fate::Excluded,
        false => Fate::Good,
    });
    story.fires(&[DATA_ABSENT], told);
    story.never("SondeObjectiveBurn.*", told);
    story
}

fn restraint(cadence: &Cadence<'_>, step: Duration) -> Story {
    let last = cadence.interval * 5 + 10 * MINUTE;
    let end = told(last + cadence.patience(), MINUTE, step) + cadence.interval * 5;
    let title = "runs skipped out of restraint are no absent data";
    let mut story = Story::new(cadence, title, MINUTE, end);
    story.tell(|_, at| match at >= last {
        true => Fate::Restrained,
        false => Fate::Good,
    });
    story.never("Sonde.*", end);
    story
}

fn restart(cadence: &Cadence<'_>) -> Story {
    let at = cadence.interval * 5 + 10 * MINUTE;
    let end = at * 2;
    let mut story = Story::new(
        cadence,
        "a restart, from which all counts begin anew",
        MINUTE,
        end,
    );
    story.restarted = Some(at);
    story.tell(|index, _| match index {
        1 => Fate::Bad,
        _ => Fate::Good,
    });
    story.never("Sonde.*", end);
    story
}

/// A share of bad runs between what is a ticket and what is a page. None where there is nothing between,
/// or where it takes three bad runs so long to come that promtool is busy for a minute.
fn slow_burn(cadence: &Cadence<'_>, step: Duration) -> Option<Story> {
    let [_, page, ticket, _] = &cadence.policy.rules;
    let objective = cadence.objective.objective;
    let (most, least) = (page.threshold(objective), ticket.threshold(objective));
    let every = (1.0 / (least * 1.2)).floor();
    let share = 1.0 / every;
    if share <= least || share >= most * 0.9 {
        return None;
    }
    let every = every as u32;
    let third = cadence.interval * (every * LEAST_BAD + 1);
    let end = third + ticket.hold + MINUTE + step * 2;
    if end > LONGEST_STORY {
        return None;
    }
    let title = format!("one bad run in {every} is a ticket and no page");
    let mut story = Story::new(cadence, &title, MINUTE, end);
    story.tell(|index, _| match (index + 1) % every {
        0 => Fate::Bad,
        _ => Fate::Good,
    });
    story.fires(&[BURN_SLOW], end);
    story.never(BURN_FAST, end);
    Some(story)
}
