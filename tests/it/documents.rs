//! What is generated into documents is up to date. `SONDE_UPDATE=1` writes it.

use sonde::config::Environment;
use std::fs;
use std::path::Path;

fn check(marker: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
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
    panic!("README's {marker} is out of date: run the tests once with SONDE_UPDATE=1");
}

#[test]
fn the_metric_reference_is_the_catalogues() {
    check("metrics", &sonde::metrics::reference_markdown());
}

#[test]
fn the_configuration_reference_is_the_schemas() {
    check("configuration", &sonde::config::reference_markdown());
}
