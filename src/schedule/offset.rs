//! Spreads probes that share a schedule, so that they do not all start in the same instant.

use super::Schedule;
use std::time::Duration;

/// Half a minute after the named instant is still "at nine o'clock" to whoever wrote it.
const MAX_CRON_SPREAD: Duration = Duration::from_secs(30);

/// How widely the probes of one schedule are spread.
///
/// The phase of `@every` means nothing to anyone, so the whole interval is used. A crontab names an instant:
/// at most 30 s of lateness, and at most half an interval, so that it is plain which tick a run belongs to.
pub fn default_spread(schedule: &Schedule) -> Duration {
    match schedule {
        Schedule::Every(every) => every.interval(),
        Schedule::Cron(_) => (schedule.typical_interval() / 2).min(MAX_CRON_SPREAD),
    }
}

/// The offset of the probe with this key, from zero up to but not including `spread`.
///
/// It depends on nothing else, so it is the same after a restart, on another machine and in another version. Keys are
/// spread evenly, however alike they are.
pub fn stable_offset(key: &str, spread: Duration) -> Duration {
    // 584 years.
    let spread = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX);
    let hash = finalise(fnv1a(key.as_bytes()));
    // The high half of the product scales the hash to the range without the bias of a remainder.
    let offset = (u128::from(hash) * u128::from(spread)) >> 64;
    Duration::from_nanos(u64::try_from(offset).unwrap_or(0))
}

/// FNV-1a, 64 bits: Fowler, Noll and Vo, RFC 9923.
fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

/// The finaliser of MurmurHash3 (Appleby, `fmix64`). FNV leaves the high bits of short keys almost equal, and
/// those decide the offset.
fn finalise(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_fnv1a() {
        // Test vectors of the reference implementation.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn offsets_are_the_same_in_every_version() {
        let minute = Duration::from_secs(60);
        let offsets = ["", "ollama-gemma/chat", "ollama-gemma/chat-cold-start"]
            .map(|key| stable_offset(key, minute));
        assert_eq!(
            offsets,
            [56_206_166_903, 31_408_026_484, 59_528_257_269].map(Duration::from_nanos)
        );
    }

    #[test]
    fn similar_keys_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for number in 0..10_000 {
            let offset = stable_offset(&format!("target-{number}/chat"), Duration::from_secs(10));
            tenths[offset.as_secs() as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (880..1120).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn the_default_spread_suits_the_schedule() {
        for (text, seconds) in [
            ("@every 10m", 600),
            ("*/5 * * * *", 30),
            ("* * * * *", 30),
            ("*/10 * * * * *", 5),
            ("@daily", 30),
        ] {
            let schedule = Schedule::parse(text, &TimeZone::UTC).unwrap();
            assert_eq!(
                default_spread(&schedule),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_offset_lies_within_its_spread(key: String, nanoseconds in 1_u64..) {
            let spread = Duration::from_nanos(nanoseconds);
            prop_assert!(stable_offset(&key, spread) < spread);
        }
    }
}
