//! `/metrics`: what was done is counted, and says nothing of who did it.

use crate::support::{Install, Request};

/// The value of one line of the text form.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn decisions_are_counted_by_code_and_route_and_times_by_bucket() {
    let install = Install::new();
    let server = &install.server;
    let paired = install.pair(1, "operator.read");
    let token = server.token(&paired);
    for _ in 0..3 {
        server.through(&token, Request::get("/api/x")).expect(503);
    }
    server.through(&token, Request::post("/api/x")).expect(403);
    Request::get("/secret-path")
        .send(&server.gateway)
        .expect(401);
    let answer = server.send(&Request::get("/metrics"));
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text();
    let decisions = |decision, code, route| {
        let name = "hardtack_gateway_decisions_total";
        let labels = format!("decision=\"{decision}\",code=\"{code}\",route=\"{route}\"");
        value(&text, &format!("{name}{{{labels}}}"))
    };
    let api = "/api/{*rest}";
    assert_eq!(decisions("allow", "ok", api), Some(3.0), "{text}");
    assert_eq!(decisions("deny", "insufficient_scope", api), Some(1.0));
    assert_eq!(decisions("deny", "missing_token", ""), Some(1.0));
    let refused = value(
        &text,
        "hardtack_gateway_refusals_total{code=\"no_upstream\"}",
    );
    assert_eq!(refused, Some(3.0));
    for name in ["gateway_decision", "gateway_request"] {
        let all = value(
            &text,
            &format!("hardtack_{name}_seconds_bucket{{le=\"+Inf\"}}"),
        );
        assert_eq!(all, Some(5.0), "{text}");
        assert_eq!(
            value(&text, &format!("hardtack_{name}_seconds_count")),
            Some(5.0)
        );
    }
    // The first use was cold, the others were not.
    assert_eq!(value(&text, "hardtack_token_cache_misses_total"), Some(1.0));
    assert_eq!(value(&text, "hardtack_token_cache_hits_total"), Some(3.0));
    assert!(value(&text, "hardtack_revocations_age_seconds").unwrap() < 5.0);
    let asked =
        "hardtack_api_requests_total{method=\"POST\",route=\"/oauth/token\",status=\"200\"}";
    assert_eq!(value(&text, asked), Some(1.0), "{text}");
    assert!(text.ends_with("# EOF\n"));
    for secret in [&token, &paired.device.id().to_string(), "secret-path"] {
        assert!(!text.contains(secret));
    }
}

#[test]
fn nobody_can_make_series() {
    let install = Install::new();
    let lines = || {
        install
            .server
            .send(&Request::get("/metrics"))
            .text()
            .lines()
            .count()
    };
    let strange = |n: u32| {
        let target = format!("/{n}/x?{n}");
        let request = Request::new("BREW", target).bearer(&format!("t{n}"));
        request.send(&install.server.gateway);
        request.send(&install.server.url);
    };
    strange(0);
    lines();
    let before = lines();
    (1..50).for_each(strange);
    assert_eq!(lines(), before);
}
