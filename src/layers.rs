//! The direction of dependencies, held by a test: data flows one way.

use std::fs;
use std::path::{Path, PathBuf};

/// What each part may use besides itself. Whatever is not named here is new
/// and must be given its place.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("domain", &[]),
    ("web", &[]),
    ("store", &["domain"]),
    ("authority", &["domain", "store"]),
    ("api", &["domain", "store", "authority", "web"]),
    ("gateway", &["domain", "web"]),
    ("openclaw", &["domain", "authority", "web"]),
    ("config", &["domain", "store"]),
    ("telemetry", &["config"]),
    ("data_dir", &["config", "authority"]),
    (
        "server",
        &[
            "domain",
            "store",
            "authority",
            "api",
            "gateway",
            "openclaw",
            "web",
            "config",
            "data_dir",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "store",
            "authority",
            "gateway",
            "web",
            "config",
            "telemetry",
            "data_dir",
            "server",
        ],
    ),
];

fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let below = path.strip_prefix(&root).unwrap();
            let first = below.components().next().unwrap().as_os_str();
            let part = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push((part, below.to_owned(), text));
        }
    }
    found.retain(|(part, ..)| !["lib", "main", "layers"].contains(&part.as_str()));
    found
}

/// The parts that a file names by `crate::part`.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        rest.split_at(end.unwrap_or(rest.len())).0
    })
}

#[test]
fn data_flows_one_way() {
    let parts: Vec<&str> = ALLOWED.iter().map(|(part, _)| *part).collect();
    for (part, path, text) in files() {
        let allowed = ALLOWED.iter().find(|(name, _)| *name == part);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("`{part}` has no place in ALLOWED"));
        for used in uses(&text).filter(|used| parts.contains(used)) {
            let fits = used == part || allowed.contains(&used);
            assert!(fits, "{} uses `{used}`", path.display());
        }
    }
}

#[test]
fn sql_is_in_the_store_and_axum_above_the_authority() {
    for (part, path, text) in files() {
        let forbidden: &[&str] = match part.as_str() {
            "store" => &["axum::"],
            "domain" | "authority" => &["axum::", "sqlx::"],
            _ => &["sqlx::"],
        };
        for word in forbidden {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}
