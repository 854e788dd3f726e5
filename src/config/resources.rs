//! What is sampled of the machine underneath.

use super::Environment;
use super::problem::Problem;
use super::raw::{RawProcess, RawResources};
use super::reach::parse_url;
use super::resolve::Context;
use crate::resource::{DcgmSettings, PodFilter, ProcessMatch, ResourceSettings};
use std::path::PathBuf;
use std::time::Duration;

/// Fastest sampling. Below it, counters that the kernel updates every few milliseconds stand still.
const MIN_SAMPLING: Duration = Duration::from_millis(100);

pub(super) fn resources(raw: RawResources, context: &mut Context<'_>) -> ResourceSettings {
    let RawResources {
        enabled,
        interval,
        nvml,
        nvml_library,
        dcgm_url,
        dcgm_gpus,
        dcgm_pod,
    } = raw;
    let standard = ResourceSettings::default();
    if let Some(interval) = interval.filter(|interval| interval.0 < MIN_SAMPLING) {
        let rule = "is less than `100ms`, the shortest time between two samples";
        let problem = Problem::new(
            "resources.interval",
            rule,
            "write `1s`, or `enabled: false`",
        );
        context.findings.add(problem.found(interval));
    }
    let gpus = dcgm_gpus.map(|gpus| gpus.into_iter().flatten().map(|gpu| gpu.0).collect());
    let dcgm = dcgm(dcgm_url.as_deref(), gpus, dcgm_pod.as_deref(), context);
    ResourceSettings {
        enabled: enabled.unwrap_or(standard.enabled),
        interval: interval.map_or(standard.interval, |interval| interval.0),
        nvml: nvml.unwrap_or(dcgm_url.is_none()),
        // A bare name is looked for by the linker, not in the configuration's folder.
        nvml_library: nvml_library.map(|name| match name.contains('/') {
            true => context.path("resources.nvml_library", &name),
            false => PathBuf::from(name),
        }),
        dcgm,
        ..standard
    }
}

fn dcgm(
    url: Option<&str>,
    gpus: Option<Vec<String>>,
    pod: Option<&str>,
    context: &mut Context<'_>,
) -> Option<DcgmSettings> {
    if gpus.as_ref().is_some_and(Vec::is_empty)
        && !context.findings.has_below("resources.dcgm_gpus")
    {
        let remedy = "name a GPU's UUID or index, or leave it out for all";
        context.refuse("resources.dcgm_gpus", "names no GPU", remedy);
    }
    let asked_for = pod.and_then(|pod| pod_filter(pod, context));
    let Some(url) = url else {
        let remedy = "add `dcgm_url`, such as `http://127.0.0.1:9400/metrics`";
        for (key, given) in [("dcgm_gpus", gpus.is_some()), ("dcgm_pod", pod.is_some())] {
            if given {
                let key = format!("resources.{key}");
                context.refuse(&key, "means nothing without `resources.dcgm_url`", remedy);
            }
        }
        return None;
    };
    let pod = match (pod, &gpus) {
        (Some(_), _) => asked_for,
        // Who names the GPUs has said which.
        (None, Some(_)) => None,
        (None, None) => own_pod(context.environment),
    };
    Some(DcgmSettings {
        endpoint: parse_url(
            "resources.dcgm_url",
            url,
            "name the page alone; dcgm-exporter asks for no credentials",
            context,
        )?,
        gpus: gpus.unwrap_or_default(),
        pod,
    })
}

/// `name` or `namespace/name`.
fn pod_filter(text: &str, context: &mut Context<'_>) -> Option<PodFilter> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let fits = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        !part.is_empty() && part.chars().all(plain)
    };
    if !fits(name) || !namespace.is_none_or(fits) {
        let rule = "is no name of a pod";
        let remedy = "write `name` or `namespace/name`, as `kubectl get pods` shows them";
        let problem = Problem::new("resources.dcgm_pod", rule, remedy);
        context.findings.add(problem.found(text));
        return None;
    }
    Some(PodFilter {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        required: true,
    })
}

/// The pod that Sonde seems to run in. A container's host name is its pod's name, unless that is
/// given another one or shares the node's network.
fn own_pod(environment: &Environment) -> Option<PodFilter> {
    let said = |variable| {
        let value = environment.get(variable);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    Some(PodFilter {
        namespace: said("POD_NAMESPACE"),
        name: said("POD_NAME").or_else(|| said("HOSTNAME"))?,
        required: false,
    })
}

/// Which processes a target is.
pub(super) fn process_match(
    place: &str,
    raw: RawProcess,
    context: &mut Context<'_>,
) -> ProcessMatch {
    let RawProcess { name, command } = raw;
    let key = |part: &str| format!("{place}.process{part}");
    if name.is_none() && command.is_none() {
        let remedy = "write `name` or `command`, or leave it out to go by the socket that listens";
        context.refuse(&key(""), "says nothing of the process", remedy);
    }
    for (part, text) in [(".name", &name), (".command", &command)] {
        if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
            let remedy = "leave it out: every process would fit";
            context.refuse(&key(part), "is empty", remedy);
        }
    }
    if let Some(path) = name.as_deref().filter(|name| name.contains('/')) {
        let program = path.rsplit('/').next().unwrap_or_default();
        let remedy = match program {
            "" => "write the program's name".to_owned(),
            program => format!("write `{program}`"),
        };
        let problem = Problem::new(key(".name"), "has a folder in it", remedy);
        context.findings.add(problem.found(path));
    }
    ProcessMatch { name, command }
}
