//! What is logged of a decision, and what never is.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use hardtack_token::End;
use serde_json::Value;
use tracing::Level;

use super::client::bearer;
use super::sockets::rest;
use super::support::{GATEWAY, World};

struct Guards(
    #[expect(dead_code, reason = "it is held")] tracing::subscriber::DefaultGuard,
    #[expect(dead_code, reason = "it is held")] tracing::Dispatch,
);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// All events of this thread from now on.
    fn listen() -> (Self, Guards) {
        // While there is one subscriber only, `tracing` asks that of whatever thread
        // comes first to an event, and other tests have none.
        let second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (lines, Guards(guard, second))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn events(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(wanted).collect()
    }

    /// The events of decisions.
    fn decisions(&self) -> Vec<Value> {
        self.events(|event| event["fields"]["decision"].is_string())
    }
}

#[tokio::test]
async fn each_decision_is_one_event_without_a_secret_in_it() {
    let (lines, _guard) = Lines::listen();
    let mut world = World::new();
    let (gateway, _echo) = world.start_with_echo().await;
    let token = world.token("operator.read");
    let credential = bearer(&token);
    let headers = [("authorization", &*credential), ("x-mine", "header-value")];
    gateway.send("GET /api/x?secret-query", &headers).await;
    let refused = gateway.send("PUT /api/x?secret-query", &headers).await;
    gateway.send("GET /%2e%2e/x", &headers).await;
    gateway.send("GET /assets/x", &headers).await;
    gateway.send("GET /.hardtack/whoami", &headers).await;
    world.advance(1);
    gateway.send("GET /assets/y", &headers).await;

    let decisions = lines.decisions();
    let told = |event: &Value| {
        let field = |name: &str| event["fields"][name].as_str().unwrap_or("-").to_owned();
        let level = event["level"].as_str().unwrap();
        let code = field("code");
        format!(
            "{level} {} {code} {} {}",
            field("decision"),
            field("method"),
            field("path")
        )
    };
    assert_eq!(
        decisions.iter().map(told).collect::<Vec<_>>(),
        [
            "INFO allow ok GET /api/x",
            "INFO deny insufficient_scope PUT /api/x",
            "INFO deny ambiguous_path GET /%2e%2e/x",
            "DEBUG allow public GET /assets/x",
            "DEBUG allow ok GET /.hardtack/whoami",
            "INFO allow public GET /assets/y",
        ]
    );
    assert_eq!(decisions[5]["fields"]["others"], 2);
    let fields = &decisions[1]["fields"];
    assert_eq!(
        fields["request_id"].as_str(),
        refused.header("x-request-id")
    );
    assert_eq!(fields["client"], "127.0.0.1");
    assert!(fields["grant"].is_string());
    for secret in [&*token, "secret-query", "header-value"] {
        assert!(!lines.text().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn each_stream_that_is_ended_is_one_event() {
    let (lines, _guard) = Lines::listen();
    let mut world = World::new();
    let (gateway, mut upstreams) = world.start_with_upstreams().await;
    let chain = world.device_grant(1, "operator.write");
    let token = world.session(&chain, GATEWAY, Vec::new());
    let mut socket = upstreams
        .open(&gateway, "/api/ws?secret-query", &token)
        .await;
    let mut events = upstreams
        .events(&gateway, "/api/sse?secret-query", &token)
        .await;
    upstreams.open(&gateway, "/assets/live", "").await;
    world.end(&chain, End::Retired);
    rest(&mut socket.client).await;
    rest(&mut events.client).await;

    let ended = lines.events(|event| {
        let message = event["fields"]["message"].as_str();
        message.is_some_and(|message| message.starts_with("stream ended"))
    });
    let told = |event: &Value| {
        let fields = &event["fields"];
        let field = |name: &str| fields[name].as_str().unwrap_or("-").to_owned();
        assert_eq!(
            field("grant"),
            chain.profile().unwrap().leaf().id.to_string()
        );
        assert_eq!(field("client"), "127.0.0.1");
        assert!(!field("request_id").is_empty());
        let level = event["level"].as_str().unwrap();
        format!(
            "{level} {} {} {}",
            field("code"),
            field("kind"),
            field("path")
        )
    };
    let mut told: Vec<String> = ended.iter().map(told).collect();
    told.sort_unstable();
    let expected = [
        "INFO retired http /api/sse",
        "INFO retired websocket /api/ws",
    ];
    assert_eq!(told, expected);
    for secret in [&*token, "secret-query"] {
        assert!(!lines.text().contains(secret), "{secret}");
    }
}
