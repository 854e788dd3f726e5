//! Pressure stall information: `/proc/pressure/…` of the machine, `….pressure` of a control group.

use super::subject::Subject;
use super::{Reading, SampleError, families, kernel_file};
use std::path::PathBuf;

/// What a task may have to wait for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// The time lost so far. `file` says where a resource's is told; one that is not there tells nothing.
///
/// # Errors
/// When a file is there and cannot be read.
pub(super) fn readings(
    subject: &Subject,
    file: impl Fn(&str) -> PathBuf,
) -> Result<Vec<Reading>, SampleError> {
    let mut readings = Vec::new();
    for resource in RESOURCES {
        let text = kernel_file::read(&file(resource))?.unwrap_or_default();
        for line in text.lines() {
            if let Some((severity, seconds)) = stalled(line) {
                let labels = [resource, severity];
                readings.push(families::PRESSURE_SECONDS.of(subject, &labels, seconds));
            }
        }
    }
    Ok(readings)
}

/// Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, in microseconds.
fn stalled(line: &str) -> Option<(&str, f64)> {
    let mut words = line.split_ascii_whitespace();
    let severity = words.next()?;
    let total = words.find_map(|word| word.strip_prefix("total="))?;
    let micros: f64 = total.parse().ok()?;
    Some((severity, micros / 1e6))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Tree;
    use super::*;

    #[test]
    fn totals_are_seconds_and_what_is_not_there_is_absent() {
        let cpu = "some avg10=11.00 avg60=14.71 avg300=7.40 total=186930417\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n";
        let tree = Tree::new()
            .file("proc/pressure/cpu", cpu)
            .file("proc/pressure/io", "some avg10=0.00 torn");
        let root = tree.settings().proc_root;
        let path = |resource: &str| root.join("pressure").join(resource);
        let readings = readings(&Subject::node(), path).unwrap();
        let told: Vec<_> = readings
            .iter()
            .map(|reading| (reading.labels[3].1.as_str(), reading.value))
            .collect();
        assert_eq!(told, [("some", 186.930_417), ("full", 0.5)]);
        assert_eq!(readings[0].labels[2], ("resource", "cpu".to_owned()));
    }
}
