//! `hardtack healthcheck`: whether the server here is ready, for containers that
//! have no shell and no curl.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::client::{Body, Identity};
use super::context::Context;
use super::failure::{Exit, Failure};
use super::output;

/// How long the server may take to answer where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let client = context.client(context.wait_timeout(TIMEOUT))?;
    let nobody = Identity::default();
    let asked = client.send(&Method::GET, "/readyz", &Body::None, &nobody);
    // Engines know two answers: 0 and 1.
    let answer = asked.await.map_err(|failure| Failure {
        exit: Exit::Unexpected,
        ..failure
    })?;
    let server = client.server();
    let Some(checks) = answer.body.get("checks").and_then(Value::as_object) else {
        let status = answer.status.as_u16();
        let detail = format!("{server} answers {status}, and not as a hardtack server");
        return Err(Failure::new(Exit::Unexpected, "not_hardtack", detail));
    };
    if answer.status == StatusCode::OK {
        return if context.json() {
            output::json(&Value::Object(answer.body))
        } else {
            output::line("ready")
        };
    }
    let failing = checks
        .iter()
        .filter_map(|(name, said)| Some((name, said.as_str()?)))
        .filter(|(_, said)| *said != "ok")
        .map(|(name, said)| format!("{name}: {said}"));
    let failing: Vec<_> = failing.collect();
    let detail = format!("{server} is not ready: {}", failing.join("; "));
    let mut failure = Failure::new(Exit::Unexpected, "not_ready", detail);
    let checks = Value::Object(checks.clone());
    failure.problem.insert("checks".to_owned(), checks);
    Err(failure)
}
