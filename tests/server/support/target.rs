//! What requests are aimed at that are to be refused: an install that must be
//! the same afterwards.

use serde_json::Value;

use super::http::{Answer, Request};
use super::people::{Install, Paired};
use super::server::Server;
use crate::device::Device;

/// An endpoint that takes a credential: method and path.
pub(crate) type Endpoint = (&'static str, String);

/// An install with a device and a request that waits.
pub(crate) struct Target {
    pub(crate) install: Install,
    pub(crate) local: Paired,
    pub(crate) device: Paired,
    /// An access token of the device, for the gateway.
    pub(crate) access: String,
    pub(crate) pending: String,
    before: Vec<Value>,
}

impl Target {
    pub(crate) fn new() -> Self {
        let install = Install::new();
        let (local, device) = (install.local(), install.pair(1, "operator.read"));
        let access = install.server.token(&device);
        let pending = install.server.ask(&Device::new(2), "operator.read");
        let mut this = Self {
            install,
            local,
            device,
            access,
            pending,
            before: Vec::new(),
        };
        this.before = this.state();
        this
    }

    pub(crate) fn server(&self) -> &Server {
        &self.install.server
    }

    /// Every endpoint of `/v1` that takes a credential.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let (id, device) = (&self.pending, self.device.device.id());
        let request = |rest: &str| format!("/v1/pairing-requests/{id}{rest}");
        let device = |rest: &str| format!("/v1/devices/{device}{rest}");
        vec![
            ("GET", "/v1/pairing-requests".to_owned()),
            ("GET", request("")),
            ("POST", request("/approve")),
            ("POST", request("/reject")),
            ("GET", "/v1/devices".to_owned()),
            ("GET", device("")),
            ("POST", device("/revoke")),
            ("POST", device("/retire")),
            ("GET", "/v1/service-tokens".to_owned()),
            ("POST", format!("/v1/service-tokens/{id}/revoke")),
            ("GET", "/v1/whoami".to_owned()),
            ("GET", "/v1/scopes".to_owned()),
            ("GET", "/v1/audit".to_owned()),
        ]
    }

    /// What must be the same afterwards: requests, devices, the audit log.
    fn state(&self) -> Vec<Value> {
        let lists = ["/v1/pairing-requests", "/v1/devices", "/v1/audit"].map(|path| {
            let path = format!("{path}?limit=500");
            let mut list = self
                .server()
                .call(&self.local, &Request::get(path))
                .expect(200);
            for item in list["items"].as_array_mut().unwrap() {
                item.as_object_mut().unwrap().remove("last_used_at");
            }
            list
        });
        lists.into()
    }

    /// Sends a request that is refused so, in the form that refusals have.
    pub(crate) fn refuses(&self, what: &str, request: &Request, expected: &str) {
        let answer = self.server().send(request);
        let line = format!("{what}: {} {}", request.method(), request.target());
        assert_eq!(answer.outcome(), expected, "{line}: {}", answer.text());
        if request.target().starts_with("/oauth/") {
            assert_oauth_error(&answer, &line);
        } else {
            assert_problem(&answer, &line);
        }
    }

    /// A request of the local device, which may do anything.
    pub(crate) fn signed(&self, request: Request) -> Request {
        let token = &self.local.grant;
        let proof = self
            .server()
            .proof(&self.local.device, &request, Some(token));
        request
            .header("dpop", proof)
            .header("authorization", format!("DPoP {token}"))
    }

    pub(crate) fn assert_unchanged(&self) {
        assert_eq!(self.state(), self.before);
        self.server().send(&Request::get("/readyz")).expect(200);
        assert!(!self.server().stderr().contains("panicked"));
    }
}

fn assert_problem(answer: &Answer, line: &str) {
    let problem = answer.json();
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{line}"
    );
    assert_eq!(
        problem["request_id"],
        answer.header("x-request-id"),
        "{line}"
    );
    assert_eq!(answer.header("x-request-id").len(), 36, "{line}");
    assert_eq!(problem["status"], answer.status, "{line}");
    let kind = format!("urn:hardtack:error:{}", answer.member("code"));
    assert_eq!(problem["type"], kind, "{line}");
    assert!(
        problem["title"].is_string() && problem["detail"].is_string(),
        "{line}"
    );
    let challenged = answer.head.count("www-authenticate") > 0;
    assert_eq!(challenged, answer.status == 401, "{line}");
}

fn assert_oauth_error(answer: &Answer, line: &str) {
    let error = answer.json();
    assert_eq!(answer.header("content-type"), "application/json", "{line}");
    assert_eq!(answer.header("cache-control"), "no-store", "{line}");
    assert_eq!(answer.header("x-request-id").len(), 36, "{line}");
    assert!(
        error["error"].is_string() && error["error_description"].is_string(),
        "{line}"
    );
}
