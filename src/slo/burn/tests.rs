use super::*;
use crate::base::units::{format_duration, parse_duration};
use proptest::prelude::*;

const MONTH: Duration = TEXTBOOK_WINDOW;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `1h/5m 14.4` of each rule.
fn shown(policy: &BurnPolicy) -> Vec<String> {
    let show = |rule: &BurnRule| {
        let (long, short) = (format_duration(rule.long), format_duration(rule.short));
        format!("{long}/{short} {}", rule.factor)
    };
    policy.rules.iter().map(show).collect()
}

#[test]
fn a_probe_that_runs_often_gets_the_textbook() {
    for (interval, objective) in [(15, 0.999), (60, 0.995), (60, 0.99), (1, 0.9999)] {
        assert_eq!(
            shown(&BurnPolicy::derive(seconds(interval), objective, MONTH)),
            ["1h/5m 14.4", "6h/30m 6", "1d/2h 3", "3d/6h 1"],
            "every {interval} s, {objective}"
        );
    }
}

#[test]
fn windows_grow_until_they_hold_enough_runs() {
    for (interval, objective, expected) in [
        (60, 0.999, ["4h/20m 14.4", "12h/1h 6", "1d/2h 3", "3d/6h 1"]),
        (300, 0.99, ["2h/30m 14.4", "6h/30m 6", "1d/2h 3", "3d/6h 1"]),
        (
            300,
            0.995,
            ["4h/30m 14.4", "12h/1h 6", "1d/2h 3", "3d/6h 1"],
        ),
        (
            300,
            0.999,
            ["18h/1h30m 14.4", "2d/4h 6", "4d/8h 3", "12d/1d 1"],
        ),
    ] {
        assert_eq!(
            shown(&BurnPolicy::derive(seconds(interval), objective, MONTH)),
            expected,
            "every {interval} s, {objective}"
        );
    }
}

#[test]
fn windows_follow_that_of_the_objective_but_pages_never_wait_longer() {
    let of = |days| BurnPolicy::derive(seconds(15), 0.99, seconds(days * DAY));
    assert_eq!(
        shown(&of(7)),
        ["15m/5m 14.4", "1h30m/10m 6", "6h/30m 3", "18h/1h30m 1"]
    );
    assert_eq!(
        shown(&of(90)),
        ["1h/5m 14.4", "6h/30m 6", "3d/6h 3", "12d/1d 1"]
    );
}

#[test]
fn a_lax_objective_still_has_rules_that_an_outage_fulfils() {
    let policy = BurnPolicy::derive(seconds(15), 0.9, MONTH);
    let thresholds: Vec<f64> = policy
        .rules
        .iter()
        .map(|rule| rule.threshold(0.9))
        .collect();
    for (found, expected) in thresholds.iter().zip([0.5, 0.5, 0.3, 0.1]) {
        assert!((found - expected).abs() < 1e-12, "{thresholds:?}");
    }
}

#[test]
fn a_shortfall_names_alternatives_that_do() {
    let short = Shortfall::of(seconds(300), 0.999, MONTH).unwrap();
    assert!((short.budget_runs - 8.64).abs() < 1e-9);
    assert_eq!(short.interval, seconds(86));
    assert!((short.objective.unwrap() - 0.9965).abs() < 1e-12);
    assert_eq!(short.window, seconds(105 * DAY));
    for (interval, objective) in [(15, 0.999), (60, 0.999), (300, 0.995), (300, 0.99)] {
        assert_eq!(Shortfall::of(seconds(interval), objective, MONTH), None);
    }
}

#[test]
fn no_objective_does_for_a_probe_that_hardly_runs() {
    let short = Shortfall::of(seconds(2 * DAY), 0.99, MONTH).unwrap();
    assert_eq!(short.objective, None);
}

/// A line of the table in docs/slos.md.
fn table_line(interval: Duration, objective: f64) -> String {
    let policy = BurnPolicy::derive(interval, objective, MONTH);
    let windows = policy.rules.map(|rule| {
        format!(
            "{}, {}",
            format_duration(rule.long),
            format_duration(rule.short)
        )
    });
    let page = &policy.rules[0];
    let runs = page.long.as_secs_f64() / interval.as_secs_f64();
    let bad = ((runs * page.threshold(objective)).floor() + 1.0).max(f64::from(LEAST_BAD));
    let budget = MONTH.as_secs_f64() * (1.0 - objective) / interval.as_secs_f64();
    format!(
        "| {} | {} % | {} | {bad} | {} | {:.1} % |",
        format_duration(interval),
        (objective * 1e6).round() / 1e4,
        windows.join(" | "),
        format_duration(interval.mul_f64(bad - 1.0)),
        bad / budget * 100.0,
    )
}

#[test]
fn the_table_in_the_documents_is_what_is_derived() {
    let document = std::fs::read_to_string("docs/slos.md").unwrap();
    for interval in [15, 60, 300] {
        for objective in [0.99, 0.995, 0.999] {
            let line = table_line(seconds(interval), objective);
            assert!(document.contains(&line), "docs/slos.md lacks\n{line}");
        }
    }
}

proptest! {
    #[test]
    fn every_policy_keeps_its_promises(
        interval in 1u64..100_000,
        budget in 1e-5f64..0.999,
        days in 1u64..400,
    ) {
        let (interval, window) = (seconds(interval), seconds(days * DAY));
        let objective = 1.0 - budget;
        let policy = BurnPolicy::derive(interval, objective, window);
        for rule in &policy.rules {
            prop_assert!(rule.short <= rule.long && rule.long <= window);
            prop_assert!(rule.factor >= 1.0);
            prop_assert!(rule.threshold(objective) < 1.0, "a total outage fires it");
            let cut = rule.long == window;
            let runs = rule.long.as_secs_f64() / interval.as_secs_f64();
            let bad = runs * rule.threshold(objective);
            prop_assert!(cut || bad >= f64::from(LEAST_BAD) * (1.0 - 1e-6), "{bad} bad runs");
            prop_assert!(cut || rule.short >= interval * RUNS_IN_SHORT);
            // Prometheus reads what our windows are written as, for as long as they are whole seconds.
            prop_assert_eq!(rule.long.subsec_nanos(), 0);
            prop_assert_eq!(parse_duration(&format_duration(rule.long)).unwrap(), rule.long);
        }
        let factors: Vec<f64> = policy.rules.iter().map(|rule| rule.factor).collect();
        prop_assert!(factors.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn each_alternative_alone_ends_the_shortfall(
        interval in 1u64..100_000,
        budget in 1e-4f64..0.5,
        days in 1u64..100,
    ) {
        let (interval, window) = (seconds(interval), seconds(days * DAY));
        let objective = 1.0 - budget;
        if let Some(short) = Shortfall::of(interval, objective, window) {
            prop_assert!(short.interval < interval);
            prop_assert_eq!(Shortfall::of(short.interval, objective, window), None);
            prop_assert!(short.window > window);
            prop_assert_eq!(Shortfall::of(interval, objective, short.window), None);
            if let Some(lax) = short.objective {
                prop_assert!(lax < objective);
                // Two digits of a budget are exact in decimals, not in binary.
                prop_assert_eq!(Shortfall::of(interval, lax - 1e-9, window), None);
            }
        }
    }
}
