//! The layers hold: a file imports from lower layers or its own folder only.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer. `slo` and `metrics` share one; metrics reads judgements, so it may see slo.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("wire", 1),
    ("measure", 1),
    ("workload", 1),
    ("transport", 1),
    ("runtime", 2),
    ("resource", 2),
    ("probe", 3),
    ("record", 4),
    ("slo", 5),
    ("metrics", 5),
    ("schedule", 5),
    ("report", 6),
    ("http", 6),
    ("config", 7),
    ("simulate", 8),
    ("selftest", 8),
    ("app", 8),
    ("cli", 8),
];

/// Imports within a layer that are meant.
const PEERS: &[(&str, &str)] = &[
    ("metrics", "slo"),
    ("app", "selftest"),
    ("cli", "app"),
    ("cli", "simulate"),
    ("cli", "selftest"),
    ("selftest", "simulate"),
];

fn layer(module: &str) -> u8 {
    let known = LAYERS.iter().find(|(name, _)| *name == module);
    known
        .unwrap_or_else(|| panic!("`{module}` has no layer; give it one here"))
        .1
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
        })
        .filter(|name| !name.is_empty())
}

#[test]
fn every_import_points_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let Some(module) = relative.iter().next().and_then(|part| part.to_str()) else {
            continue;
        };
        if module.ends_with(".rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Tests may look wherever they like.
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for import in imports(code) {
            let own = import == module || PEERS.contains(&(module, import));
            let most = if module == "simulate" {
                1
            } else {
                layer(module).saturating_sub(1)
            };
            if !own && layer(import) > most {
                wrong.push(format!("{}: {module} imports {import}", relative.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_has_a_layer_and_a_line_in_the_crates_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let page = fs::read_to_string(root.join("lib.rs")).unwrap();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            layer(name);
            assert!(
                page.contains(&format!("[`{name}`]")),
                "{name} is not in the crate doc"
            );
        }
    }
}
