//! What is generated into documents is up to date. `SONDE_UPDATE=1` writes it.

use sonde::config::{Environment, LoadInput, load};
use sonde::runtime::RUNTIMES;
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

#[test]
fn the_page_of_runtimes_lists_every_one() {
    check(
        "docs/runtimes/README.md",
        "runtimes",
        &sonde::runtime::reference_markdown(),
    );
}

/// What stands between "```yaml" and "```".
fn yaml_blocks(page: &str) -> Vec<&str> {
    let begins = page.split("```yaml\n").skip(1);
    begins
        .filter_map(|rest| rest.split("\n```").next())
        .collect()
}

/// The words of a text that are environment variables, each with a value.
fn variables(text: &str) -> Environment {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name =
        |word: &&str| word.contains('_') && !word.contains(|c: char| c.is_ascii_lowercase());
    Environment::from_pairs(words.filter(is_name).map(|name| (name, "a-secret")))
}

#[test]
fn every_runtime_has_a_page_and_what_it_says_to_write_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runtimes");
    for spec in RUNTIMES {
        let path = folder.join(format!("{}.md", spec.name));
        let page =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut named = false;
        for block in yaml_blocks(&page) {
            let loaded = load(LoadInput {
                path: Some(&path),
                file: Some(block),
                environment: &variables(block),
                overrides: Vec::new(),
            });
            let settings = loaded.unwrap_or_else(|problems| panic!("{problems}\n{block}"));
            named |= settings
                .targets
                .iter()
                .any(|target| target.settings.runtime == Some(spec));
        }
        assert!(
            named,
            "{}: no example has `runtime: {}`",
            path.display(),
            spec.name
        );
    }
}
