//! What the log says of the gateway's decisions.

use serde_json::Value;

use crate::support::Install;
use crate::support::http::Request;

/// What was logged with these words.
fn lines(log: &str, words: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let fields = lines.map(|mut line| line["fields"].take());
    fields.filter(|fields| fields["message"] == words).collect()
}

#[test]
fn every_refusal_is_logged_and_of_what_is_allowed_a_sample_or_all() {
    for (level, all) in [("info", false), ("debug", true)] {
        let install = Install::with(&["--log-format", "json", "--log-level", level]);
        let reader = install.pair(1, "operator.read");
        let token = install.server.token(&reader);
        for _ in 0..20 {
            let whoami = Request::get("/.hardtack/whoami");
            install.server.through(&token, whoami).expect(200);
        }
        for _ in 0..5 {
            let writing = install.server.through(&token, Request::post("/api/x"));
            assert_eq!(writing.outcome(), "403 insufficient_scope");
        }
        let log = install.server.stop().stderr;
        assert!(!log.contains(&token));
        let grant = reader.grant_id.as_str();

        let refused = lines(&log, "request refused");
        assert_eq!(refused.len(), 5, "{log}");
        for line in refused {
            assert_eq!(line["decision"], "deny");
            assert_eq!(line["code"], "insufficient_scope");
            assert_eq!(
                (&line["method"], &line["path"]),
                (&"POST".into(), &"/api/x".into())
            );
            assert_eq!(line["grant"], grant);
        }
        let allowed = lines(&log, "request allowed");
        for line in &allowed {
            assert_eq!(line["decision"], "allow");
            assert_eq!(line["grant"], grant);
            assert!(line["request_id"].is_string());
        }
        let sampled = allowed.iter().filter_map(|line| line["others"].as_u64());
        let counted: u64 = sampled.map(|others| 1 + others).sum();
        // Those after the last line are in no count yet.
        assert!((1..=20).contains(&counted), "{log}");
        assert_eq!(allowed.len() == 20, all, "{log}");
    }
}
