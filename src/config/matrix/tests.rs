//! What entries with a matrix become; what is refused is in the golden files.

use crate::config::{Environment, LoadInput, Settings, load};
use std::path::Path;

fn settings(file: &str, pairs: &[(&str, &str)]) -> Settings {
    let settings = load(LoadInput {
        path: Some(Path::new("tests/golden/config/good/matrix.yaml")),
        file: Some(file),
        environment: &Environment::from_pairs(pairs.iter().copied()),
        overrides: Vec::new(),
    });
    settings.unwrap_or_else(|problems| panic!("{problems}"))
}

fn names(settings: &Settings) -> Vec<String> {
    let names = settings.targets.iter().map(|plan| &plan.settings.name);
    names.map(ToString::to_string).collect()
}

#[test]
fn an_entry_becomes_a_target_of_every_combination_that_is_not_excluded() {
    let file = include_str!("../../../tests/golden/config/good/matrix.yaml");
    let settings = settings(file, &[]);
    let expected = ["p-eu-a", "p-us-a", "p-7-a", "p-eu-b", "p-us-b"];
    assert_eq!(names(&settings), expected);
    let last = &settings.targets[4].settings;
    assert_eq!(last.endpoint.url(), "https://p.us.example/{literal}");
    assert_eq!(last.model.as_deref(), Some("b"));
    assert_eq!(last.runtime.map(|runtime| runtime.name), Some("openai"));
    let headers: Vec<_> = last
        .endpoint
        .headers
        .iter()
        .map(|(_, value)| value.as_bytes())
        .collect();
    assert_eq!(headers, [&b"{\"a\": {\"b\": 1}}"[..], b"us"]);
    let labels: Vec<_> = last
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        labels,
        [("provider", "p"), ("region", "us"), ("zone", "us-1")]
    );
    assert!(settings.targets.iter().all(|plan| plan.matrix == Some(0)));
}

#[test]
fn what_the_entry_says_itself_stands() {
    let file = "targets: [{url: 'http://h', model: 'x/{model}', labels: {region: here},\
                matrix: {model: [a], region: [b]}}]";
    let settings = settings(file, &[]);
    let target = &settings.targets[0].settings;
    assert_eq!(target.model.as_deref(), Some("x/a"));
    assert_eq!(target.labels["region"], "here");
    assert_eq!(names(&settings), ["h-a-b"]);
}

#[test]
fn the_environment_reaches_into_a_matrix_and_relative_files_stay_with_the_configuration() {
    let file = "targets: [{url: 'http://h/{region}', auth: {bearer_file: '{file}'},\
                matrix: {file: [key], model: [a], region: [x, y]}, exclude: [{region: y}]},\
                {name: other, url: 'http://o', model: m}]";
    let pairs = [
        ("SONDE__TARGETS__0__MATRIX__MODEL", "[b, '007']"),
        ("SONDE__TARGETS__0__MATRIX__REGION__0", "007"),
        ("SONDE__TARGETS__1__MODEL", "n"),
    ];
    let settings = settings(file, &pairs);
    assert_eq!(names(&settings), ["h-key-b-007", "h-key-007-007", "other"]);
    assert_eq!(settings.targets[0].settings.endpoint.url(), "http://h/007");
    let other = &settings.targets[2];
    assert_eq!(
        (other.settings.model.as_deref(), other.matrix),
        (Some("n"), None)
    );
}

#[test]
fn a_warning_that_every_cell_has_is_told_once() {
    let file = "targets: [{url: 'https://h', tls: {insecure_skip_verify: true},\
                matrix: {model: [a, b]}}]";
    assert_eq!(settings(file, &[]).warnings.len(), 1);
}
