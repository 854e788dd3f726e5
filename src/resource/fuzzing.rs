//! Doors for the fuzz targets to what is private here.

use super::exposition::Exposition;

/// Reads a page of metrics.
pub fn exposition(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(page) = Exposition::parse(text)
    {
        for sample in &page.samples {
            assert!(page.named(sample.name).next().is_some());
        }
    }
}
