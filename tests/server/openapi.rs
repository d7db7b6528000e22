//! `/openapi.json`: kept, whole, and of the router that serves it.

use std::path::Path;

use serde_json::Value;

use crate::support::snapshot::check;
use crate::support::{Install, Request};

fn document(install: &Install) -> Value {
    let answer = install.server.send(&Request::get("/openapi.json"));
    assert_eq!(answer.header("content-type"), "application/json");
    answer.expect(200)
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

#[test]
fn the_document_is_the_one_that_is_kept() {
    let document = document(&Install::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/openapi.json");
    check(&file, &format!("{document:#}\n"));
}

#[test]
fn every_operation_is_served_and_no_other_method_of_its_path() {
    let install = Install::new();
    let document = document(&install);
    let mut count = 0;
    for (path, method, _) in operations(&document) {
        let target = path.replace("{id}", "x");
        let served = install
            .server
            .send(&Request::new(&method.to_uppercase(), &target));
        assert_ne!(served.status, 405, "{method} {path}");
        let nothing = served.text().contains("there is nothing at this path");
        assert!(!nothing, "{method} {path}");
        count += 1;
        for other in ["PUT", "DELETE", "PATCH"] {
            let refused = install.server.send(&Request::new(other, &target));
            assert_eq!(
                refused.outcome(),
                "405 method_not_allowed",
                "{other} {path}"
            );
            assert!(!refused.header("allow").is_empty());
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn everything_that_is_referred_to_is_there_and_every_answer_has_an_example() {
    let document = document(&Install::new());
    check_references(&document, &document);
    for (path, method, operation) in operations(&document) {
        assert!(!operation["summary"].as_str().unwrap().is_empty());
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let kinds = answer["content"].as_object().unwrap();
            let has = |kind: &Value| kind.get("example").or(kind.get("examples")).is_some();
            assert!(kinds.values().all(has), "{method} {path} {status}");
        }
    }
}

fn check_references(whole: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(whole.pointer(pointer).is_some(), "{reference}");
            }
            members
                .values()
                .for_each(|value| check_references(whole, value));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(whole, item)),
        _ => {}
    }
}
