//! Whether two samples differ, and by how much, by ranks: latencies are skewed and have outliers, so
//! neither their means nor one quotient of them can tell.

use std::f64::consts::SQRT_2;

/// Pairs of values up to which the distribution of U is counted out instead of approximated.
const EXACT_PAIRS: usize = 2500;

/// What the ranks of two samples say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTest {
    /// Mann and Whitney's U of the first sample: pairs in which its value is the larger one; a tie
    /// is half a pair.
    pub u: f64,
    /// Probability, two-sided, of ranks at least as uneven as these if both samples came from the same
    /// distribution.
    pub p: f64,
    /// The least p that samples of these sizes can have.
    pub least_p: f64,
    /// Hodges and Lehmann's shift: the median of all differences, second sample − first. In the
    /// samples' unit.
    pub shift: f64,
    /// Cliff's delta: share of pairs in which the second sample's value is the larger one, less the
    /// share in which it is the smaller one. −1 to 1.
    pub delta: f64,
}

/// Compares two samples by the test of Mann and Whitney (Ann. Math. Stat. 18, 1947, p. 50): exactly where
/// no value occurs twice and there are up to 2500 pairs, else by the normal approximation, corrected for
/// ties and for continuity. `None` where a sample is empty or a value is not a number.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<RankTest> {
    let pairs = first.len() * second.len();
    let mut differences: Vec<f64> = Vec::with_capacity(pairs);
    for a in first {
        differences.extend(second.iter().map(|b| b - a));
    }
    if pairs == 0 || differences.iter().any(|d| d.is_nan()) {
        return None;
    }
    let above = differences.iter().filter(|d| **d > 0.0).count() as f64;
    let below = differences.iter().filter(|d| **d < 0.0).count() as f64;
    let tied = pairs as f64 - above - below;
    let u = below + tied / 2.0;
    let sizes = (first.len(), second.len());
    let ties = ties(first, second);
    let exact = ties == 0.0 && pairs <= EXACT_PAIRS;
    let p_of = |u: f64| match exact {
        true => exact_p(sizes, u),
        false => approximate_p(sizes, u, ties),
    };
    differences.sort_by(f64::total_cmp);
    Some(RankTest {
        u,
        p: p_of(u),
        least_p: p_of(0.0),
        shift: median(&differences)?,
        delta: (above - below) / pairs as f64,
    })
}

/// The middle of sorted values, or the mean of the two in the middle. `None` without a value.
pub fn median(ascending: &[f64]) -> Option<f64> {
    let middle = ascending.len() / 2;
    let upper = *ascending.get(middle)?;
    match ascending.len() % 2 {
        0 => Some((ascending.get(middle - 1)? + upper) / 2.0),
        _ => Some(upper),
    }
}

/// The p values, each corrected for there being several, in their order: of those that stay below α,
/// none is a mistake with probability 1 − α or more (Holm, Scand. J. Stat. 6, 1979, p. 65).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut ascending: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
    ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut corrected = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, (index, p)) in ascending.iter().enumerate() {
        least = least.max(p * (ascending.len() - rank) as f64).min(1.0);
        if let Some(slot) = corrected.get_mut(*index) {
            *slot = least;
        }
    }
    corrected
}

/// Σ (t³ − t) over all values that occur t times in both samples together.
fn ties(first: &[f64], second: &[f64]) -> f64 {
    let mut all: Vec<f64> = first.iter().chain(second).copied().collect();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|a, b| a == b)
        .map(|equal| {
            let t = equal.len() as f64;
            t * t * t - t
        })
        .sum()
}

/// Twice the lesser tail of U's distribution, itself included, where every order of ranks is as likely.
fn exact_p((n, m): (usize, usize), u: f64) -> f64 {
    let lesser = u.min((n * m) as f64 - u) as usize;
    let tail: f64 = distribution(n, m).iter().take(lesser + 1).sum();
    (2.0 * tail).min(1.0)
}

/// The probability of each U from 0 to n·m. The largest of i + j values is of the first sample with
/// probability i / (i + j), and then it exceeds all j of the second: Mann and Whitney's recurrence.
fn distribution(n: usize, m: usize) -> Vec<f64> {
    // By j, for the i of the round before; nothing of the first sample: U is 0.
    let mut before: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        let mut row: Vec<Vec<f64>> = Vec::with_capacity(m + 1);
        for (j, without_first) in before.iter().enumerate() {
            let share = i as f64 / (i + j) as f64;
            let mut of_both = vec![0.0; i * j + 1];
            for (p, less) in of_both.iter_mut().skip(j).zip(without_first) {
                *p += share * less;
            }
            if let Some(without_second) = row.last() {
                for (p, less) in of_both.iter_mut().zip(without_second) {
                    *p += (1.0 - share) * less;
                }
            }
            row.push(of_both);
        }
        before = row;
    }
    before.pop().unwrap_or_default()
}

/// By the normal approximation.
fn approximate_p((n, m): (usize, usize), u: f64, ties: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = (u - n * m / 2.0).abs() - 0.5;
    let z = distance / variance.sqrt();
    // Twice the tail: 2 · ½ erfc(z / √2).
    libm::erfc(z / SQRT_2).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LARGE: ([f64; 25], [f64; 30]) = (
        [
            0.948, 1.0428, 1.0147, 0.7938, 0.8105, 0.8939, 0.8828, 1.0334, 1.1387, 0.9014, 0.7649,
            0.8217, 1.0586, 1.0132, 0.867, 1.0845, 0.891, 0.9829, 1.2862, 0.8566, 1.0533, 1.0865,
            0.9169, 0.8393, 1.1729,
        ],
        [
            1.3239, 1.3017, 1.1943, 1.1274, 1.2912, 1.0524, 0.9153, 1.044, 1.0131, 0.9245, 0.9454,
            1.2826, 1.0431, 0.8403, 1.0318, 1.0065, 1.1863, 0.9232, 1.0642, 1.1621, 1.2065, 1.0982,
            0.87, 1.0516, 1.1011, 0.9788, 1.1903, 1.043, 1.1051, 1.1307,
        ],
    );

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() <= 1e-12 + 1e-9 * wanted.abs()
    }

    /// Oracle: scipy 1.17.1, `mannwhitneyu(x, y, alternative="two-sided", method="exact")`; shift and delta
    /// by their definitions with Python's `statistics.median`.
    #[test]
    fn exact_figures_are_scipys() {
        let small = (
            &[0.19, 0.21, 0.20, 0.22, 0.18][..],
            &[0.30, 0.24, 0.26, 0.28, 0.25, 0.23][..],
        );
        let overlap = (
            &[1.1, 2.3, 2.9, 4.0, 5.2, 6.1, 7.7][..],
            &[2.0, 3.1, 4.4, 5.0, 6.6, 8.0, 9.5, 10.1][..],
        );
        for ((x, y), u, p, shift, delta) in [
            (small, 0.0, 0.004_329_004_329_004_329, 0.06, 1.0),
            (
                overlap,
                17.0,
                0.231_857_031_857_031_88,
                1.95,
                0.392_857_142_857_142_85,
            ),
            ((&[1.0][..], &[2.0][..]), 0.0, 1.0, 1.0, 1.0),
            (
                (&LARGE.0[..], &LARGE.1[..]),
                196.0,
                0.002_112_680_651_452_631_4,
                0.121_75,
                0.477_333_333_333_333_3,
            ),
        ] {
            let found = mann_whitney(x, y).unwrap();
            assert_eq!(found.u, u);
            assert!(near(found.p, p), "{found:?} {p}");
            assert!(near(found.shift, shift), "{found:?}");
            assert!(near(found.delta, delta), "{found:?}");
        }
    }

    /// Oracle: scipy 1.17.1, the same with `method="asymptotic", use_continuity=True`.
    #[test]
    fn approximate_figures_are_scipys() {
        let x = [1.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0];
        let y = [2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 7.0, 7.0];
        let tied = mann_whitney(&x, &y).unwrap();
        assert_eq!((tied.u, tied.shift, tied.delta), (13.5, 2.0, 0.625));
        assert!(near(tied.p, 0.031_758_957_148_063_71), "{tied:?}");
        let same = mann_whitney(&[5.0; 3], &[5.0; 4]).unwrap();
        assert_eq!((same.u, same.p, same.shift), (6.0, 1.0, 0.0));
        let p = approximate_p((25, 30), 196.0, 0.0);
        assert!(near(p, 0.002_551_208_471_575_207), "{p}");
    }

    /// Oracle: statsmodels, `multipletests(p, method="holm")`.
    #[test]
    fn corrected_figures_are_those_of_statsmodels() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, wanted) in found.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!(near(found, wanted), "{found} {wanted}");
        }
        assert_eq!(holm(&[0.02, 0.02, 0.9]), [0.06, 0.06, 0.9]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn three_against_three_can_prove_nothing() {
        let test = mann_whitney(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]).unwrap();
        assert!(near(test.least_p, 0.1) && near(test.p, 0.1), "{test:?}");
        assert!(mann_whitney(&[], &[1.0]).is_none());
        assert!(mann_whitney(&[f64::NAN], &[1.0]).is_none());
    }

    proptest! {
        #[test]
        fn exchanging_the_samples_changes_signs_only(
            x in prop::collection::vec(0.0..1e3_f64, 1..20),
            y in prop::collection::vec(0.0..1e3_f64, 1..20),
        ) {
            let there = mann_whitney(&x, &y).unwrap();
            let back = mann_whitney(&y, &x).unwrap();
            prop_assert!(near(there.p, back.p));
            prop_assert!(near(there.delta, -back.delta));
            prop_assert!((there.shift + back.shift).abs() < 1e-9);
            prop_assert_eq!(there.u + back.u, (x.len() * y.len()) as f64);
            prop_assert!((0.0..=1.0).contains(&there.p) && there.least_p <= there.p + 1e-12);
        }
    }
}
