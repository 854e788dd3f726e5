//! What is generated into documents is up to date. `SONDE_UPDATE=1` writes it.

use sonde::config::Environment;
use std::fs;
use std::path::Path;

fn check(document: &str, marker: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- begin generated: {marker} -->\n");
    let end = format!("<!-- end generated: {marker} -->");
    let (before, rest) = text.split_once(&begin).expect("the begin marker");
    let (found, after) = rest.split_once(&end).expect("the end marker");
    if found == generated {
        return;
    }
    if Environment::process().get("SONDE_UPDATE").is_some() {
        fs::write(&path, format!("{before}{begin}{generated}{end}{after}")).unwrap();
        return;
    }
    panic!("{marker} in {document} is out of date: run the tests once with SONDE_UPDATE=1");
}

#[test]
fn the_configuration_reference_is_the_schemas() {
    check(
        "docs/configuration.md",
        "configuration",
        &sonde::config::reference_markdown(),
    );
}

/// The sections of prometheus/METRICS.md, by the prefix of what they list.
const SECTIONS: [&str; 5] = [
    "llm_probe_",
    "llm_runtime_",
    "llm_resource_",
    "llm_gpu_",
    "sonde_",
];

#[test]
fn the_page_of_metrics_lists_every_family_in_its_section() {
    let reference = sonde::metrics::reference_markdown();
    let head: String = reference.split_inclusive('\n').take(2).collect();
    let mut listed = 0;
    for prefix in SECTIONS {
        let begin = format!("| `{prefix}");
        let rows: Vec<&str> = reference
            .split_inclusive('\n')
            .filter(|row| row.starts_with(&begin))
            .collect();
        listed += rows.len();
        let table = head.clone() + &rows.concat();
        check("prometheus/METRICS.md", prefix, &table);
    }
    assert_eq!(
        listed,
        sonde::metrics::catalogue().len(),
        "a family has none of the prefixes {SECTIONS:?}: give it a section"
    );
}
