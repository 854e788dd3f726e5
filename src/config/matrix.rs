//! One entry of `targets` for many: every combination of its axes, less what is excluded, becomes an
//! entry of its own before anybody asks what it means.

use super::placeholder;
use super::problem::{Problem, suggestion};
use super::raw::RawTarget;
use super::reach::default_name;
use super::resolve::Context;
use super::secret;
use super::shape;
use super::target::NamedTarget;
use crate::base::label;
use crate::transport::Endpoint;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Cells of one matrix, excluded ones included: a slip must not start thousands of probes.
const MOST_CELLS: usize = 256;

/// Axes that fill the key of their name. They are no labels: Sonde tells of these itself.
const FIELDS: [&str; 3] = ["model", "runtime", "url"];

/// Keys of an entry that are not part of its cells.
const OWN_KEYS: [&str; 2] = ["matrix", "exclude"];

/// One axis, its values by their place in the file.
struct Axis {
    name: String,
    values: Vec<(usize, String)>,
}

/// One value of every axis, in the order of the axes.
type Cell<'m> = Vec<(&'m Axis, &'m (usize, String))>;

/// The targets that an entry with a matrix stands for, each made by `make` from an entry of its own.
/// None where the matrix itself is wrong.
pub(super) fn targets(
    (index, place): (usize, &str),
    raw: &RawTarget,
    mut make: impl FnMut(RawTarget, &mut Context<'_>) -> NamedTarget,
    context: &mut Context<'_>,
) -> Vec<NamedTarget> {
    let Some(template) = template(index, context) else {
        return Vec::new();
    };
    let Some(axes) = axes(place, raw, context) else {
        return Vec::new();
    };
    check_placeholders(place, &template, &axes, context);
    check_use(place, &template, &axes, context);
    let cells = cells(place, raw, &axes, context);
    if OWN_KEYS
        .iter()
        .any(|key| context.findings.has_below(&format!("{place}.{key}")))
    {
        return Vec::new();
    }
    let entries: Vec<_> = cells.iter().map(|cell| entry(&template, cell)).collect();
    if !names_differ(place, (&template, &axes), &entries, context) {
        return Vec::new();
    }
    let mut findings = CellFindings::default();
    let mut targets = Vec::new();
    for (cell, entry) in cells.iter().zip(entries) {
        let known = context.findings.problems.len();
        match shape::read_target(&Value::Object(entry)) {
            Ok(raw) => {
                let mut target = make(raw, context);
                if let Some(plan) = &mut target.plan {
                    plan.matrix = Some(index);
                }
                targets.push(target);
            }
            Err(error) => context.refuse(place, error, "write it without placeholders"),
        }
        let found = context.findings.problems.split_off(known);
        findings.add((place, &template), cell, found);
    }
    let found = findings.told(cells.len());
    context.findings.problems.extend(found);
    targets
}

/// The entry as typed, without its matrix and without what does not fit.
fn template(index: usize, context: &Context<'_>) -> Option<Map<String, Value>> {
    let typed = context.typed.get("targets")?.get(index)?.as_object()?;
    let kept = typed
        .iter()
        .filter(|(name, value)| !OWN_KEYS.contains(&name.as_str()) && !value.is_null());
    Some(
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// The axes in name order. `None` where their product is no number of targets to make.
fn axes(place: &str, raw: &RawTarget, context: &mut Context<'_>) -> Option<Vec<Axis>> {
    let place = format!("{place}.matrix");
    let mut axes = Vec::new();
    let mut product = Some(1_usize);
    for (name, values) in raw.matrix.iter().flatten() {
        let key = format!("{place}.{name}");
        if !FIELDS.contains(&name.as_str()) {
            check_label(&key, name, context);
        }
        let mut axis = Axis {
            name: name.clone(),
            values: Vec::new(),
        };
        for (index, value) in values.iter().flatten().enumerate() {
            let key = format!("{key}[{index}]");
            let Some(value) = value else {
                continue;
            };
            // As the environment has it: `007` is a number, and its text is meant.
            let value = context.layered.texts.get(&key).unwrap_or(&value.0).clone();
            if secret::literal_reference(&key, &value, context) {
                continue;
            }
            if axis.values.iter().any(|(_, other)| *other == value) {
                let problem = Problem::new(key, "is listed twice", "keep one of them");
                context.findings.add(problem.found(value));
                continue;
            }
            axis.values.push((index, value));
        }
        if axis.values.is_empty() && !context.findings.has_below(&key) {
            let remedy = "list its values, such as `[a, b]`, or take it out";
            context.refuse(&key, "is empty: there is nothing to combine", remedy);
        }
        product = product.and_then(|product| product.checked_mul(axis.values.len()));
        axes.push(axis);
    }
    if axes.is_empty() && !context.findings.has_below(&place) {
        let remedy = "give it an axis, such as `model: [a, b]`, or take it out";
        context.refuse(&place, "is empty: there is nothing to combine", remedy);
    }
    if product.is_none_or(|product| product > MOST_CELLS) {
        let sizes: Vec<_> = axes.iter().map(|axis| axis.values.len()).collect();
        let sizes = sizes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = format!(
            "has more than {MOST_CELLS} combinations: {}",
            sizes.join(" × ")
        );
        let remedy = "split it into several entries, or into several daemons";
        context.refuse(&place, rule, remedy);
    }
    (!axes.is_empty() && !context.findings.has_below(&place)).then_some(axes)
}

fn check_label(key: &str, name: &str, context: &mut Context<'_>) {
    if name == "name" {
        let remedy = "rename it, and write `name` with its placeholder";
        context.refuse(key, "is no axis: names are made of values", remedy);
    } else if let Err(error) = label::check_name(name) {
        let remedy = match error {
            label::LabelError::Name => "rename it, `_` for whatever else was meant".to_owned(),
            label::LabelError::Reserved => format!("rename it, such as to `llm_{name}`"),
        };
        context.findings.add(Problem::new(key, error, remedy));
    }
}

/// Every text below a key, with its own key.
fn each_text(key: &str, value: &Value, see: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => see(key, text),
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                each_text(&format!("{key}[{index}]"), element, see);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                each_text(&format!("{key}.{name}"), field, see);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check_placeholders(
    place: &str,
    template: &Map<String, Value>,
    axes: &[Axis],
    context: &mut Context<'_>,
) {
    let known = axes.iter().map(|axis| axis.name.as_str());
    each_text(place, &Value::Object(template.clone()), &mut |key, text| {
        let stranger = placeholder::names(text)
            .into_iter()
            .find(|name| !known.clone().any(|known| known == *name));
        let Some(name) = stranger else {
            return;
        };
        let rule = format!("holds `{{{name}}}`, which is no axis of the matrix");
        let remedy = suggestion(name, known.clone(), "the axes are");
        let remedy = format!("{remedy}, and `{{{{{name}}}}}` is the text itself");
        let problem = Problem::new(key, rule, remedy);
        context.findings.add(problem.found(text));
    });
}

/// An axis that fills a key needs that key absent, or its placeholder somewhere. Any other is a
/// label at least.
fn check_use(place: &str, template: &Map<String, Value>, axes: &[Axis], context: &mut Context<'_>) {
    let mut used = BTreeSet::new();
    each_text(place, &Value::Object(template.clone()), &mut |_, text| {
        used.extend(placeholder::names(text).into_iter().map(str::to_owned));
    });
    for axis in axes {
        let name = &axis.name;
        if FIELDS.contains(&name.as_str()) && template.contains_key(name) && !used.contains(name) {
            let rule = format!("is used nowhere, since the entry has a `{name}` of its own");
            let remedy = format!("take `{name}` out of the entry, or write `{{{name}}}` in it");
            let key = format!("{place}.matrix.{name}");
            context.findings.add(Problem::new(key, rule, remedy));
        }
    }
}

/// The combinations that are not excluded, the last axis fastest.
fn cells<'m>(
    place: &str,
    raw: &RawTarget,
    axes: &'m [Axis],
    context: &mut Context<'_>,
) -> Vec<Cell<'m>> {
    let mut cells: Vec<Cell<'m>> = vec![Vec::new()];
    for axis in axes {
        cells = cells
            .iter()
            .flat_map(|cell| {
                axis.values.iter().map(move |value| {
                    let mut cell = cell.clone();
                    cell.push((axis, value));
                    cell
                })
            })
            .collect();
    }
    let place = format!("{place}.exclude");
    for (index, excluded) in raw.exclude.iter().flatten().enumerate() {
        let Some(excluded) = excluded else {
            continue;
        };
        let place = format!("{place}[{index}]");
        if excluded.is_empty() {
            let remedy = "name values, such as `{model: b, region: x}`, or take it out";
            context.refuse(&place, "is empty: it would exclude everything", remedy);
        }
        for (name, value) in excluded {
            check_excluded(&format!("{place}.{name}"), name, &value.0, axes, context);
        }
        cells.retain(|cell| {
            !excluded.iter().all(|(name, value)| {
                cell.iter()
                    .any(|(axis, (_, other))| axis.name == *name && *other == value.0)
            })
        });
    }
    if cells.is_empty() && !context.findings.has_below(&place) {
        let remedy = "take one of its entries out";
        context.refuse(&place, "leaves no combination", remedy);
    }
    cells
}

fn check_excluded(key: &str, name: &str, value: &str, axes: &[Axis], context: &mut Context<'_>) {
    let Some(axis) = axes.iter().find(|axis| axis.name == name) else {
        let known = axes.iter().map(|axis| axis.name.as_str());
        let remedy = suggestion(name, known, "the axes are");
        let problem = Problem::new(key, "is no axis of the matrix", remedy);
        context.findings.add(problem);
        return;
    };
    if !axis.values.iter().any(|(_, known)| known == value) {
        let known = axis.values.iter().map(|(_, value)| value.as_str());
        let remedy = suggestion(value, known, "its values are");
        let problem = Problem::new(key, "is no value of this axis", remedy);
        context.findings.add(problem.found(value));
    }
}

/// The entry that a cell stands for.
fn entry(template: &Map<String, Value>, cell: &Cell<'_>) -> Map<String, Value> {
    let value = |name: &str| {
        let found = cell.iter().find(|(axis, _)| axis.name == name);
        found.map(|(_, (_, value))| value.as_str())
    };
    let mut entry = Map::new();
    for (name, field) in template {
        let mut field = field.clone();
        fill_in(&mut field, &value);
        entry.insert(name.clone(), field);
    }
    for (axis, (_, value)) in cell {
        let fields = match FIELDS.contains(&axis.name.as_str()) {
            true => Some(&mut entry),
            false => entry
                .entry("labels")
                .or_insert_with(|| Map::new().into())
                .as_object_mut(),
        };
        if let Some(fields) = fields {
            fields
                .entry(&axis.name)
                .or_insert_with(|| value.as_str().into());
        }
    }
    if let (None, Some(usual)) = (entry.get("name"), usual_name(&entry, cell)) {
        entry.insert("name".to_owned(), usual.into());
    }
    entry
}

fn fill_in<'v>(field: &mut Value, value: &impl Fn(&str) -> Option<&'v str>) {
    match field {
        Value::String(text) => *text = placeholder::fill(text, value),
        Value::Array(elements) => elements.iter_mut().for_each(|field| fill_in(field, value)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill_in(field, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The name that a target has without one, and the values that are not part of it. Absent: the URL
/// is none, which is reported elsewhere.
fn usual_name(entry: &Map<String, Value>, cell: &Cell<'_>) -> Option<String> {
    let endpoint = Endpoint::parse(entry.get("url")?.as_str()?).ok()?;
    let values = cell
        .iter()
        .filter(|(axis, _)| axis.name != "url")
        .map(|(_, (_, value))| value.as_str());
    let mut parts = vec![default_name(Some(&endpoint))];
    parts.extend(values.map(str::to_owned));
    Some(parts.join("-"))
}

/// Whether every cell has a name of its own.
fn names_differ(
    place: &str,
    (template, axes): (&Map<String, Value>, &[Axis]),
    entries: &[Map<String, Value>],
    context: &mut Context<'_>,
) -> bool {
    let mut taken = BTreeSet::new();
    let mut names = entries
        .iter()
        .filter_map(|entry| entry.get("name").and_then(Value::as_str));
    let Some(twice) = names.find(|name| !taken.insert(*name)) else {
        return true;
    };
    let typed = template.get("name").and_then(Value::as_str);
    let mentioned = typed.map(placeholder::names).unwrap_or_default();
    let missing: Vec<_> = axes
        .iter()
        .filter(|axis| axis.values.len() > 1 && !mentioned.contains(&axis.name.as_str()))
        .map(|axis| format!("`{{{}}}`", axis.name))
        .collect();
    let remedy = match (typed, missing.is_empty()) {
        (Some(_), false) => format!("put {} into it", missing.join(" and ")),
        (None, false) => format!("write a `name` with {} in it", missing.join(" and ")),
        (_, true) => "part the placeholders by another character".to_owned(),
    };
    let rule = format!("calls several targets `{twice}`");
    let key = format!("{place}.name");
    let mut problem = Problem::new(key, rule, remedy);
    if let Some(typed) = typed {
        problem = problem.found(typed);
    }
    context.findings.add(problem);
    false
}

/// What was found in the cells, each problem once.
#[derive(Default)]
struct CellFindings(Vec<(Problem, Vec<String>)>);

impl CellFindings {
    fn add(
        &mut self,
        (place, template): (&str, &Map<String, Value>),
        cell: &Cell<'_>,
        found: Vec<Problem>,
    ) {
        for mut problem in found {
            problem.key = written_key((place, template), cell, &problem.key);
            let told: Vec<_> = cell
                .iter()
                .map(|(axis, (_, value))| format!("{}={value}", axis.name))
                .collect();
            let told = told.join(", ");
            match self.0.iter_mut().find(|(known, _)| *known == problem) {
                Some((_, cells)) => cells.push(told),
                None => self.0.push((problem, vec![told])),
            }
        }
    }

    /// The problems, those with their cells that only some of all have.
    fn told(self, all: usize) -> impl Iterator<Item = Problem> {
        self.0.into_iter().map(move |(mut problem, cells)| {
            let by_key = problem.key.contains(".matrix.");
            if let ([first, others @ ..], false) = (&cells[..], by_key || cells.len() == all) {
                problem.rule.push_str(&match others.len() {
                    0 => format!(", where {first}"),
                    more => format!(", where {first}, and {more} more"),
                });
            }
            problem
        })
    }
}

/// Where what was found at `key` is written: in the matrix, where an axis filled the key.
fn written_key(
    (place, template): (&str, &Map<String, Value>),
    cell: &Cell<'_>,
    key: &str,
) -> String {
    let labels = template.get("labels").and_then(Value::as_object);
    for (axis, (index, _)) in cell {
        let name = &axis.name;
        let (filled, typed) = match FIELDS.contains(&name.as_str()) {
            true => (format!("{place}.{name}"), template.contains_key(name)),
            false => (
                format!("{place}.labels.{name}"),
                labels.is_some_and(|labels| labels.contains_key(name)),
            ),
        };
        if !typed && key == filled {
            return format!("{place}.matrix.{name}[{index}]");
        }
    }
    key.to_owned()
}

#[cfg(test)]
mod tests;
