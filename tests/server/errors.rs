//! Every row of `docs/errors.md`, played against a real server: status, headers
//! and body of each refusal are kept in `tests/snapshots/errors`.

mod api;
mod gateway;
mod oauth;
mod sabotage;

use std::collections::BTreeSet;

use crate::support::snapshot::{check, errors, text};
use crate::support::{Answer, Server};

/// Rows that take a gateway of shorter patience: its own tests keep them.
const ELSEWHERE: [&str; 2] = [
    "408-request_timeout-gateway",
    "504-upstream_timeout-gateway",
];

/// Where a refusal was said.
#[derive(Clone, Copy)]
pub(crate) enum Door {
    V1,
    OAuth,
    Gateway,
}

/// What was produced.
#[derive(Default)]
struct Rows(BTreeSet<String>);

impl Rows {
    /// Keeps a refusal, which is to have this status and code.
    fn keep(&mut self, server: &Server, door: Door, expected: &str, answer: &Answer) {
        assert_eq!(answer.outcome(), expected, "{}", answer.text());
        let door = match door {
            Door::V1 => "v1",
            Door::OAuth => "oauth",
            Door::Gateway => "gateway",
        };
        assert!(!answer.header("x-request-id").is_empty(), "{expected}");
        let name = format!("{}-{door}", expected.replace(' ', "-"));
        check(&errors().join(format!("{name}.txt")), &text(server, answer));
        assert!(self.0.insert(name), "{expected} twice");
    }
}

/// The rows of the table: code and status.
fn table() -> Vec<(String, String)> {
    let page = include_str!("../../docs/errors.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let row = |cells: Vec<&str>| (cells[1].trim_matches('`').to_owned(), cells[2].to_owned());
    cells.map(row).collect()
}

#[test]
fn every_row_of_the_table_of_errors_is_what_a_server_says() {
    let mut rows = Rows::default();
    api::play(&mut rows);
    oauth::play(&mut rows);
    gateway::play(&mut rows);
    sabotage::play(&mut rows);
    rows.0.extend(ELSEWHERE.map(str::to_owned));
    let table = table();
    assert!(table.len() > 60, "{table:?}");
    for (code, status) in &table {
        // OAuth has statuses of its own: its row counts where a code is said nowhere else.
        let is_this = |row: &&String| {
            let (said, rest) = row.split_once('-').unwrap();
            let (named, door) = rest.rsplit_once('-').unwrap();
            named == code && (said == status || door == "oauth")
        };
        assert!(
            rows.0.iter().any(|row| is_this(&row)),
            "{status} {code} was not produced"
        );
    }
    for row in &rows.0 {
        let (_, rest) = row.split_once('-').unwrap();
        let (named, _) = rest.rsplit_once('-').unwrap();
        assert!(
            table.iter().any(|(code, _)| code == named),
            "{row} is in no table"
        );
    }
    let files = std::fs::read_dir(errors()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = names
        .map(|n| n.trim_end_matches(".txt").to_owned())
        .collect();
    assert_eq!(names, rows.0, "files and what was produced");
}
