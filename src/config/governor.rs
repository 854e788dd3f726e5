//! What probing may cost a target.

use super::raw::{RawBackOff, RawBudget};
use super::resolve::Context;
use crate::schedule::Limits;

/// Requests that wait at a runtime from which on it has more to do than to answer probes.
pub(super) const WAITING_ABOVE: f64 = 16.0;

/// The limits of one target; `priced`: its tokens have a price.
pub(super) fn limits(
    place: &str,
    budget: RawBudget,
    back_off: RawBackOff,
    priced: bool,
    context: &mut Context<'_>,
) -> Limits {
    let mut positive = |key: String, value: Option<f64>, remedy: &str| {
        let good = value.is_none_or(|value| value.is_finite() && value > 0.0);
        if !good {
            context.refuse(&key, "is not a number above 0", remedy);
        }
        value.filter(|_| good)
    };
    let leave_out = "leave it out for no limit";
    let tokens = format!("{place}.budget.tokens_per_day");
    let usd = format!("{place}.budget.usd_per_day");
    let tokens_per_day = positive(tokens, budget.tokens_per_day, leave_out);
    let usd_per_day = positive(usd.clone(), budget.usd_per_day, leave_out);
    if usd_per_day.is_some() && !priced {
        let rule = "limits dollars of a target whose tokens have no price";
        context.refuse(&usd, rule, "set the target's `price`");
    }
    let share = budget.share.map(|share| share.0);
    if share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        let key = format!("{place}.budget.share");
        context.refuse(
            &key,
            "is not a share above 0 and up to 1",
            "write `1%` or 0.01",
        );
    }
    let mut counted = |field: &str, value: Option<f64>| {
        let good = value.is_none_or(|value| value >= 0.0);
        if !good {
            let key = format!("{place}.back_off.{field}");
            context.refuse(&key, "is below 0", "write how many requests are too many");
        }
        value
    };
    Limits {
        tokens_per_day,
        usd_per_day,
        share,
        running_above: counted("running_above", back_off.running_above),
        waiting_above: counted("waiting_above", back_off.waiting_above).or(Some(WAITING_ABOVE)),
    }
}
