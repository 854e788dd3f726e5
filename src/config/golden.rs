//! One bad file per rule, with the exact message beside it; good files; and the layers.
//!
//! `SONDE_UPDATE=1 cargo test config` writes the messages anew, to be read before they are
//! committed.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

const PLAIN: &str = "targets: [{name: a, url: 'http://127.0.0.1:11434', model: m}]";

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/golden/config").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// `NAME=value` lines of a sibling file, where there is one.
fn environment_of(path: &Path) -> Environment {
    let text = fs::read_to_string(path.with_extension("env")).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Environment::from_pairs(pairs)
}

fn load_file(path: &Path) -> Result<Settings, Problems> {
    load(LoadInput {
        path: Some(path),
        file: Some(&read_file(path).unwrap()),
        environment: &environment_of(path),
        overrides: Vec::new(),
    })
}

fn load_text(
    text: &str,
    pairs: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Settings, Problems> {
    load(LoadInput {
        path: None,
        file: (!text.is_empty()).then_some(text),
        environment: &Environment::from_pairs(pairs.iter().copied()),
        overrides: overrides
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect(),
    })
}

#[test]
fn every_bad_file_is_refused_with_its_message() {
    let update = Environment::process().get("SONDE_UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in yaml_files("bad") {
        let found = match load_file(&path) {
            Ok(_) => "accepted\n".to_owned(),
            Err(problems) => format!("{problems}\n"),
        };
        let expected_path = path.with_extension("txt");
        if update {
            fs::write(&expected_path, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if found != expected || found == "accepted\n" {
            wrong.push(format!(
                "{}\nexpected:\n{expected}\nfound:\n{found}",
                path.display()
            ));
        }
        assert!(!found.contains("hunter2"), "a secret is shown: {found}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_problem_comes_with_a_remedy() {
    for path in yaml_files("bad") {
        for problem in load_file(&path).unwrap_err().list() {
            assert!(!problem.remedy.is_empty(), "{}: {problem}", path.display());
            assert!(
                !problem.rule.ends_with('.'),
                "{}: {problem}",
                path.display()
            );
        }
    }
}

#[test]
fn every_good_file_is_accepted_without_a_warning() {
    let shipped =
        ["central", "sidecar-ollama"].map(|name| format!("k8s/overlays/{name}/sonde.yaml"));
    for path in yaml_files("good")
        .into_iter()
        .chain(shipped.map(PathBuf::from))
    {
        match load_file(&path) {
            Ok(settings) => assert_eq!(
                settings.warnings,
                Vec::<String>::new(),
                "{}",
                path.display()
            ),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn the_full_example_names_every_key() {
    let text = read_file(Path::new("tests/golden/config/good/full.yaml")).unwrap();
    let words: BTreeSet<_> = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .collect();
    for row in reference_markdown().lines().skip(2) {
        let key = row.split('`').nth(1).unwrap();
        let name = key.rsplit('.').next().unwrap().trim_end_matches("[]");
        assert!(words.contains(name), "{key} is missing");
    }
}

#[test]
fn the_command_line_beats_the_environment_and_the_environment_beats_the_file() {
    let file = "log: {level: warn}\nserver: {listen: '127.0.0.1:1'}\n\
                targets: [{url: 'http://a:1', model: m}, {url: 'http://b:2', labels: {Region: x}}]";
    let pairs = [
        ("SONDE__SERVER__LISTEN", "127.0.0.1:2"),
        ("SONDE__TARGETS__1__URL", "http://c:3"),
        ("SONDE__TARGETS__1__MODEL", "7"),
        ("SONDE__TARGETS__1__LABELS__ZONE", "1.10"),
        ("SONDE__TARGETS__0__MAX_IN_FLIGHT", "3"),
        ("SONDE__DEFAULTS__SCHEDULE", "*/5 * * * *"),
        ("SONDE_REVISION", "not a setting"),
    ];
    let settings = load_text(file, &pairs, &[("server.listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(settings.log.filter, "warn");
    assert_eq!(settings.server.listen, "127.0.0.1:3".parse().unwrap());
    let [first, second] = &settings.targets[..] else {
        panic!("two targets");
    };
    assert_eq!(
        (first.settings.max_in_flight, second.settings.max_in_flight),
        (3, 1)
    );
    assert_eq!(first.settings.model.as_deref(), Some("m"));
    assert_eq!(second.settings.endpoint.url(), "http://c:3");
    assert_eq!(second.settings.model.as_deref(), Some("7"));
    let labels: Vec<_> = second.settings.labels.iter().collect();
    assert_eq!(
        labels,
        [
            (&"Region".to_owned(), &"x".to_owned()),
            (&"zone".to_owned(), &"1.10".to_owned()),
        ]
    );
    let cadence = &second.scenarios[0].cadence;
    assert_eq!(cadence.schedule.to_string(), "*/5 * * * *");
}

#[test]
fn a_whole_list_may_come_from_one_variable_and_be_amended_by_another() {
    let pairs = [
        (
            "SONDE__TARGETS",
            "[{name: a, url: 'http://a:1'}, {name: b, url: 'http://b:2'}]",
        ),
        ("SONDE__TARGETS__1__URL", "http://c:3"),
    ];
    let settings = load_text(PLAIN, &pairs, &[]).unwrap();
    let urls: Vec<_> = settings
        .targets
        .iter()
        .map(|plan| plan.settings.endpoint.url())
        .collect();
    assert_eq!(urls, ["http://a:1", "http://c:3"]);
}

#[test]
fn a_url_is_all_that_is_needed() {
    let settings = load_text("", &[], &[("targets[0].url", "http://127.0.0.1:11434")]).unwrap();
    let [plan] = &settings.targets[..] else {
        panic!("one target");
    };
    assert_eq!(&*plan.settings.name, "127.0.0.1:11434");
    assert_eq!(
        (plan.settings.runtime, plan.settings.model.as_deref()),
        (None, None)
    );
    let [chat] = &plan.scenarios[..] else {
        panic!("one scenario");
    };
    assert_eq!(&*chat.scenario.settings.name, "chat");
    assert_eq!(chat.scenario.settings.workload.input_tokens, Some(256));
    assert_eq!(chat.scenario.settings.generation.output_tokens, Some(64));
    assert_eq!(chat.cadence.schedule.to_string(), "@every 30s");
    assert_eq!(chat.cadence.offset, None);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:10798");
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn nothing_at_all_says_what_to_do() {
    let expected = "configuration: 1 problem\n  targets: is empty: there is nobody to ask\n    \
                    hint: add `targets: [{url: \"http://127.0.0.1:11434\"}]`, or start with `--url`";
    for text in ["", "# only a comment", "{}", "targets:"] {
        assert_eq!(
            load_text(text, &[], &[]).unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_problem_from_the_command_line_says_so() {
    let problems = load_text("", &[], &[("targets[0].url", "localhost:11434")]).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "configuration: 1 problem\n  targets[0].url (from the command line): `localhost:11434` is \
         not a URL such as `http://127.0.0.1:11434`\n    hint: write `http://localhost:11434`"
    );
}

#[test]
fn settings_and_environment_never_show_a_secret() {
    let folder = std::env::temp_dir().join(format!("sonde-config-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("key");
    fs::write(&file, "hunter2\n").unwrap();
    let text = format!(
        "targets:\n\
         - {{name: a, url: 'https://a', auth: {{bearer_env: KEY}}, headers_env: {{X-Key: KEY}}, tls: {{insecure_skip_verify: true}}}}\n\
         - {{name: b, url: 'http://localhost', auth: {{bearer_file: {0}}}, headers_file: {{X-Key: {0}}}, headers: {{X-Open: hunter2}}}}\n\
         - {{name: c, url: 'http://localhost:1', auth: {{username: u, password_env: KEY}}}}",
        file.display()
    );
    let environment = Environment::from_pairs([("KEY", "hunter2")]);
    let settings = load(LoadInput {
        path: None,
        file: Some(&text),
        environment: &environment,
        overrides: Vec::new(),
    });
    fs::remove_dir_all(folder).unwrap();
    let settings = settings.unwrap();
    assert_eq!(settings.targets.len(), 3);
    let shown = format!("{settings:#?} {environment:?}");
    assert!(
        shown.contains("KEY") && !shown.contains("hunter2"),
        "{shown}"
    );
    assert_eq!(
        settings.warnings,
        ["`https://a` may be anyone: `insecure_skip_verify` is on"]
    );
}

#[test]
fn a_short_total_cuts_what_is_inherited() {
    let text = format!(
        "{PLAIN}\ndefaults: {{timeouts: {{stall: 8s}}}}\n\
                        scenarios: [{{name: s, timeouts: {{total: 10s, connect: 1s}}}}]"
    );
    let settings = load_text(&text, &[], &[]).unwrap();
    let timeouts = settings.targets[0].scenarios[0].scenario.settings.timeouts;
    let seconds = [
        timeouts.connect,
        timeouts.first_token,
        timeouts.stall,
        timeouts.total,
    ];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [1, 10, 8, 10]);
}

#[test]
fn waste_is_warned_of() {
    let text = "scenarios: [{name: chat}, {name: idle}]\n\
                targets: [{name: a, url: 'http://h', model: m, scenarios: [chat]},\
                          {name: b, url: 'http://h/', model: m, scenarios: [chat]}]";
    let settings = load_text(text, &[], &[]).unwrap();
    assert_eq!(
        settings.warnings,
        [
            "scenario `idle` is asked of no target",
            "targets `a` and `b` ask the same model at the same URL the same scenario `chat`",
        ]
    );
}

#[test]
fn any_text_is_settings_or_problems_and_never_a_panic() {
    use proptest::prelude::*;
    let key = prop_oneof![
        "[a-z_]{1,9}",
        Just("targets".to_owned()),
        Just("scenarios".to_owned())
    ];
    let value = prop_oneof![
        ".{0,20}",
        "\\[\\{[a-z]{1,5}: [^'\"]{0,9}\\}\\]",
        "[0-9]{1,30}"
    ];
    proptest!(|(entries in prop::collection::vec((key, value), 0..6))| {
        let lines: Vec<_> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        load_text(&lines.join("\n"), &[], &[]).ok();
        let pairs: Vec<_> = entries
            .iter()
            .map(|(key, value)| (format!("SONDE__{}", key.to_uppercase()), value.clone()))
            .collect();
        let environment = Environment::from_pairs(pairs);
        let input = LoadInput { path: None, file: None, environment: &environment, overrides: Vec::new() };
        load(input).ok();
    });
}

#[test]
fn a_path_starts_where_it_was_typed() {
    let path = Path::new("tests/golden/config/good/sonde.yaml");
    let text = format!("server: {{web_config_file: part/web.yaml}}\n{PLAIN}");
    let with = |name: &str, value: &str| {
        let environment = Environment::from_pairs([(name, value)]);
        let input = LoadInput {
            path: Some(path),
            file: Some(&text),
            environment: &environment,
            overrides: Vec::new(),
        };
        load(input).unwrap().server.web_config_file.unwrap()
    };
    assert_eq!(
        with("OTHER", "x"),
        Path::new("tests/golden/config/good/part/web.yaml")
    );
    let typed = "tests/golden/config/good/full.yaml";
    assert_eq!(
        with("SONDE__SERVER__WEB_CONFIG_FILE", typed),
        Path::new(typed)
    );
}

#[test]
fn dcgm_switches_nvml_off_unless_told_otherwise_and_guesses_the_pod() {
    let load = |resources: &str, pairs: &[(&str, &str)]| {
        let text = format!("{PLAIN}\nresources: {{{resources}}}");
        load_text(&text, pairs, &[]).unwrap().resources
    };
    let plain = load("interval: 2s", &[("HOSTNAME", "node-1")]);
    assert!(plain.nvml && plain.dcgm.is_none());
    let url = "dcgm_url: 'http://127.0.0.1:9400/metrics'";
    let both = load(&format!("{url}, nvml: true"), &[]);
    assert!(both.nvml && both.dcgm.unwrap().pod.is_none());

    let pod = |resources: &str, pairs: &[(&str, &str)]| {
        let settings = load(resources, pairs);
        assert!(!settings.nvml);
        let pod = settings.dcgm.unwrap().pod;
        pod.map(|pod| (pod.namespace, pod.name, pod.required))
    };
    let own = |namespace: Option<&str>, name: &str, required| {
        Some((namespace.map(str::to_owned), name.to_owned(), required))
    };
    let host = ("HOSTNAME", "vllm-0");
    assert_eq!(pod(url, &[host]), own(None, "vllm-0", false));
    let named = [host, ("POD_NAME", "vllm-1"), ("POD_NAMESPACE", "llm")];
    assert_eq!(pod(url, &named), own(Some("llm"), "vllm-1", false));
    let gpus = format!("{url}, dcgm_gpus: [0, GPU-a]");
    assert_eq!(pod(&gpus, &named), None);
    let given = format!("{gpus}, dcgm_pod: other/vllm-2");
    assert_eq!(pod(&given, &named), own(Some("other"), "vllm-2", true));
    let wanted = load(&given, &named).dcgm.unwrap().gpus;
    assert_eq!(wanted, ["0", "GPU-a"]);
}

#[test]
fn what_host_and_model_say_is_a_label_unless_the_user_says_otherwise() {
    let url = "https://bedrock-runtime.eu-central-1.amazonaws.com";
    let text = format!(
        "targets: [{{name: a, url: '{url}', model: eu.meta.x}}, {{name: b, url: '{url}', model: meta.x, labels: {{region: here}}}}]"
    );
    let settings = load_text(&text, &[], &[]).unwrap();
    let labels = |index: usize| {
        let labels = settings.targets[index].settings.labels.iter();
        let pairs: Vec<String> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    };
    assert_eq!(labels(0), "inference_profile=eu.meta.x region=eu-central-1");
    assert_eq!(labels(1), "region=here");
}
