//! Which region a host is in, and what hosts of a region are called.

/// Beginnings of regions outside of the public ones, and what their hosts end with: `partitions.json` of botocore.
const PARTITIONS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
];
const PUBLIC: &str = "amazonaws.com";
/// Ends of hosts that have IPv6 addresses too.
const DUAL_STACK: [&str; 3] = [
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
];

/// The region in the name of a host that is Amazon's: `eu-central-1` of `bedrock-runtime.eu-central-1.amazonaws.com`,
/// and of an interface endpoint's name.
pub fn region_of_host(host: &str) -> Option<&str> {
    let ends = PARTITIONS.iter().map(|(_, end)| *end);
    let mut ends = ends.chain([PUBLIC]).chain(DUAL_STACK);
    let name = ends.find_map(|end| host.strip_suffix(end)?.strip_suffix('.'))?;
    name.rsplit('.').find(|label| is_region(label))
}

/// Letters, words of letters, a number: `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.rsplit('-');
    let is = |part: &str, kind: fn(&u8) -> bool| !part.is_empty() && part.bytes().all(|b| kind(&b));
    let numbered = parts
        .next()
        .is_some_and(|part| is(part, u8::is_ascii_digit));
    let words: Vec<&str> = parts.collect();
    numbered && words.len() >= 2 && words.iter().all(|part| is(part, u8::is_ascii_lowercase))
}

/// Where a region's security token service is.
pub(super) fn sts_url(region: &str) -> String {
    let own = PARTITIONS
        .iter()
        .find(|(start, _)| region.starts_with(start));
    let end = own.map_or(PUBLIC, |(_, end)| end);
    format!("https://sts.{region}.{end}")
}
