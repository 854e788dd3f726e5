//! Quantiles of what was seen, without interpolation: each is a value that occurred.

/// Absorbs the rounding of `share × count`, which may end a hair above a whole number.
const ROUNDING: f64 = 1e-9;

/// The smallest value that at least this share of all values does not exceed (nearest rank): with
/// few values a high quantile is the maximum. `ascending` is sorted; without a value there is none.
pub fn quantile<T: Copy>(ascending: &[T], share: f64) -> Option<T> {
    let rank = (share.clamp(0.0, 1.0) * ascending.len() as f64 - ROUNDING).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, value) in [
            (0.0, 1.0),
            (0.07, 7.0),
            (0.5, 50.0),
            (0.99, 99.0),
            (1.0, 100.0),
        ] {
            assert_eq!(quantile(&hundred, share), Some(value), "{share}");
        }
        assert_eq!(quantile(&[3.0], 0.99), Some(3.0));
        assert_eq!(quantile::<f64>(&[], 0.5), None);
    }

    proptest! {
        #[test]
        fn the_promised_share_lies_at_or_below(
            mut values in prop::collection::vec(-1e3..1e3_f64, 1..200),
            share in 0.0..=1.0_f64,
        ) {
            values.sort_by(f64::total_cmp);
            let found = quantile(&values, share).unwrap();
            let count = values.len() as f64;
            let below = values.iter().filter(|value| **value < found).count() as f64;
            let at_most = values.iter().filter(|value| **value <= found).count() as f64;
            prop_assert!(at_most >= share * count - 1e-6);
            prop_assert!(below < share * count + 1e-6 || below == 0.0);
        }
    }
}
