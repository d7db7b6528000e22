//! An install, and the devices that talk to it.

use hardtack::authority::secrets::Secrets;
use hardtack_token::dpop::token_hash;
use hardtack_token::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::machine::Machine;
use super::server::Server;
use crate::device::Device;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:token-type:refresh_token";
pub(crate) const ROOT: &str = "urn:hardtack:token-type:root";

/// A machine with a server on it that was started for the first time.
pub(crate) struct Install {
    pub(crate) server: Server,
    pub(crate) root: String,
    pub(crate) host: Machine,
}

/// A device and its grant.
#[derive(Clone)]
pub(crate) struct Paired {
    pub(crate) device: Device,
    pub(crate) grant: String,
    pub(crate) grant_id: String,
}

impl Install {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// An install whose server was started with more arguments.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::on(Machine::new(), args)
    }

    pub(crate) fn on(host: Machine, args: &[&str]) -> Self {
        let server = Server::start(&host, args);
        let root = server
            .root
            .clone()
            .expect("a root token at the first start");
        Self { server, root, host }
    }

    /// The local device, as whoever can read the data directory has it.
    pub(crate) fn local(&self) -> Paired {
        let device = Device::of(self.secrets().local_device().clone());
        let path = format!("/v1/devices/{}/grant", device.id());
        let found = self.server.prove(&device, &Request::get(path)).expect(200);
        Paired::new(device, &found)
    }

    pub(crate) fn secrets(&self) -> Secrets {
        let text = std::fs::read_to_string(self.host.data_dir().join("secret.key")).unwrap();
        Secrets::from_text(&text).unwrap()
    }

    /// Pairs a new device, approved by the local one.
    pub(crate) fn pair(&self, number: u64, scopes: &str) -> Paired {
        self.server.pair(&self.local(), number, scopes)
    }

    /// The audit log, as the local device reads it.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let page = self
            .server
            .call(&self.local(), &Request::get("/v1/audit?limit=500"));
        page.expect(200)["items"].as_array().unwrap().clone()
    }
}

impl Server {
    /// Sends a request to the API.
    pub(crate) fn send(&self, request: &Request) -> Answer {
        request.send(&self.url)
    }

    /// Sends a request with a proof of a device's key and no credential.
    pub(crate) fn prove(&self, device: &Device, request: &Request) -> Answer {
        self.send(&self.proven(device, request))
    }

    /// A request with a proof of a device's key and no credential.
    pub(crate) fn proven(&self, device: &Device, request: &Request) -> Request {
        let proof = self.proof(device, request, None);
        request.clone().header("dpop", proof)
    }

    /// Calls the API with a grant and a proof of its key.
    pub(crate) fn call(&self, caller: &Paired, request: &Request) -> Answer {
        self.send(&self.signed(caller, request))
    }

    /// A request with a grant and a proof of its key.
    pub(crate) fn signed(&self, caller: &Paired, request: &Request) -> Request {
        let proof = self.proof(&caller.device, request, Some(&caller.grant));
        let request = request.clone().header("dpop", proof);
        request.header("authorization", format!("DPoP {}", caller.grant))
    }

    pub(crate) fn proof(&self, device: &Device, request: &Request, token: Option<&str>) -> String {
        let mut claims = device.claims(request.method(), &self.url_of(request), now());
        claims.ath = token.map(token_hash);
        device.dpop(&claims)
    }

    /// The URL of a request to the API, without its query.
    pub(crate) fn url_of(&self, request: &Request) -> String {
        let path = request.target().split('?').next().unwrap();
        format!("{}{path}", self.url)
    }

    /// A device asks to be paired; the id of its request.
    pub(crate) fn ask(&self, device: &Device, scopes: &str) -> String {
        let scopes: Vec<&str> = scopes.split(' ').collect();
        let ask = Request::post("/v1/pairing-requests").json(&json!({"scopes": scopes}));
        let asked = self.prove(device, &ask).expect(202);
        asked["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn approve(&self, approver: &Paired, id: &str, narrowing: &Value) -> Answer {
        let path = format!("/v1/pairing-requests/{id}/approve");
        self.call(approver, &Request::post(path).json(narrowing))
    }

    /// Pairs a new device.
    pub(crate) fn pair(&self, approver: &Paired, number: u64, scopes: &str) -> Paired {
        let device = Device::new(number);
        let id = self.ask(&device, scopes);
        self.approve(approver, &id, &json!({})).expect(200);
        self.fetch(device, &id)
    }

    /// A device fetches the grant of an approved request.
    pub(crate) fn fetch(&self, device: Device, id: &str) -> Paired {
        let fetch = Request::get(format!("/v1/pairing-requests/{id}"));
        let found = self.prove(&device, &fetch).expect(200);
        Paired::new(device, &found)
    }

    /// A device fetches its newest grant in a role, as the API gives it.
    pub(crate) fn fetch_again(&self, device: &Device, role: &str) -> Value {
        let path = format!("/v1/devices/{}/grant?role={role}", device.id());
        self.prove(device, &Request::get(path)).expect(200)
    }

    /// Exchanges a grant for a bearer token.
    pub(crate) fn exchange(&self, holder: &Paired, more: &[(&str, &str)]) -> Answer {
        self.send(&self.exchange_by(holder, more))
    }

    /// The request that exchanges a grant for a bearer token.
    pub(crate) fn exchange_by(&self, holder: &Paired, more: &[(&str, &str)]) -> Request {
        let assertion = holder.device.assertion(&self.url, now());
        let mut members = vec![
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &assertion),
        ];
        members.extend(more);
        exchange_request(&holder.grant, GRANT, &members)
    }

    /// An exchange of anything, with whatever comes along.
    pub(crate) fn exchange_of(&self, token: &str, kind: &str, more: &[(&str, &str)]) -> Answer {
        self.send(&exchange_request(token, kind, more))
    }

    /// An access token for the gateway.
    pub(crate) fn token(&self, holder: &Paired) -> String {
        self.token_with(holder, &[])
    }

    pub(crate) fn token_with(&self, holder: &Paired, more: &[(&str, &str)]) -> String {
        let answer = self.exchange(holder, more).expect(200);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// What the gateway says to a request with a bearer token.
    pub(crate) fn through(&self, token: &str, request: Request) -> Answer {
        request.bearer(token).send(&self.gateway)
    }
}

impl Paired {
    pub(crate) fn new(device: Device, found: &Value) -> Self {
        let text = |name: &str| found[name].as_str().unwrap().to_owned();
        Self {
            device,
            grant: text("grant"),
            grant_id: text("grant_id"),
        }
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

fn exchange_request(token: &str, kind: &str, more: &[(&str, &str)]) -> Request {
    let mut members = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", kind),
    ];
    members.extend(more);
    Request::post("/oauth/token").form(&members)
}
