//! `/openapi.json` (`OpenAPI` 3.1), made of what the router is made of: every
//! route brings its description, and there is no other way into the router.

pub(super) mod oauth;
pub(super) mod open;
mod schema;
pub(super) mod v1;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::web::code::Code;
use crate::web::problem::PROBLEM_JSON;
use schema::schemas;

/// The path of the document.
pub(super) const PATH: &str = "/openapi.json";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// What any request may be answered, whatever it asks for.
const ALWAYS: [Code; 3] = [Code::Internal, Code::Overloaded, Code::TimedOut];
/// What a request may be answered that reaches the database.
const STORE: [Code; 3] = [
    Code::TooManyRequests,
    Code::NotReady,
    Code::StoreUnavailable,
];
/// What a credential may be refused with.
const CREDENTIAL: [Code; 24] = [
    Code::InvalidRequest,
    Code::DuplicateAuthorization,
    Code::MissingToken,
    Code::MalformedToken,
    Code::OutsideProfile,
    Code::UnknownKey,
    Code::BadSignature,
    Code::NotActivated,
    Code::RootTokenNotAccepted,
    Code::Expired,
    Code::Revoked,
    Code::Retired,
    Code::UnknownGrant,
    Code::WrongHolder,
    Code::WrongKey,
    Code::ProofRequired,
    Code::InvalidProof,
    Code::UseDpopNonce,
    Code::InsufficientScope,
    Code::WrongAudience,
    Code::CaveatMethod,
    Code::CaveatPath,
    Code::CaveatOperation,
    Code::RevocationsStale,
];

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// Everybody.
    Anybody,
    /// A device that proves its key.
    Key,
    /// A grant with proof of its key, or an access token.
    Credential,
    /// One of these, or the root token.
    CredentialOrRoot,
    /// A grant with proof of its key.
    Grant,
    /// A client of OAuth's endpoints.
    Client,
}

/// A route's description.
pub(super) struct Endpoint {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    caller: Caller,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<(StatusCode, Value)>,
    errors: Vec<Code>,
}

/// A route: what it is and who answers.
pub(super) struct Route {
    endpoint: Endpoint,
    handler: MethodRouter<Api>,
}

impl Endpoint {
    fn new(method: &'static str, path: &'static str, id: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary: "",
            caller: Caller::Anybody,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn get(path: &'static str, id: &'static str) -> Self {
        Self::new("get", path, id)
    }

    fn post(path: &'static str, id: &'static str) -> Self {
        Self::new("post", path, id)
    }

    fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    fn caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    fn query(mut self, name: &str, schema: &Value, what: &str) -> Self {
        let parameter = json!({"name": name, "in": "query", "schema": schema, "description": what});
        self.parameters.push(parameter);
        self
    }

    /// `limit` and `after`, as all lists have them.
    fn paged(self, cursor: &Value) -> Self {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 100});
        self.query("limit", &limit, "How many items at most").query(
            "after",
            cursor,
            "`next` of the page before",
        )
    }

    fn header(mut self, name: &str, schema: &Value, what: &str) -> Self {
        let parameter =
            json!({"name": name, "in": "header", "schema": schema, "description": what});
        self.parameters.push(parameter);
        self
    }

    /// The path's `{id}`.
    fn id(mut self, schema: &Value, what: &str) -> Self {
        let parameter = json!({"name": "id", "in": "path", "required": true, "schema": schema, "description": what});
        self.parameters.push(parameter);
        self
    }

    /// A JSON body; an empty one is an object without members.
    fn json(mut self, is_required: bool, schema: &Value, example: &Value) -> Self {
        self.body = Some(json!({
            "required": is_required,
            "content": {JSON: {"schema": schema, "example": example}},
        }));
        self.errors.push(Code::TooLarge);
        self
    }

    fn form(mut self, schema: &Value, examples: &Value) -> Self {
        self.body = Some(json!({
            "required": true,
            "content": {FORM: {"schema": schema, "examples": examples}},
        }));
        self.errors.push(Code::TooLarge);
        self
    }

    /// An answer of a schema by its name.
    fn answers(self, status: StatusCode, what: &str, schema: &str, example: &Value) -> Self {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        self.answers_with(status, what, JSON, &schema, example)
    }

    fn answers_with(
        mut self,
        status: StatusCode,
        what: &str,
        media_type: &str,
        schema: &Value,
        example: &Value,
    ) -> Self {
        let answer = json!({
            "description": what,
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
            "content": {media_type: {"schema": schema, "example": example}},
        });
        self.answers.push((status, answer));
        self
    }

    fn refuses(mut self, errors: &[Code]) -> Self {
        self.errors.extend(errors);
        self
    }

    /// The route with its handler, which is asked with no other method.
    pub(super) fn by<H: Handler<T, Api>, T: 'static>(self, handler: H) -> Route {
        let filter = if self.method == "post" {
            MethodFilter::POST
        } else {
            MethodFilter::GET
        };
        Route {
            handler: on(filter, handler),
            endpoint: self,
        }
    }

    fn is_oauth(&self) -> bool {
        self.path.starts_with("/oauth/")
    }

    /// Every code that it may refuse with.
    fn codes(&self) -> Vec<Code> {
        let credential: &[Code] = match self.caller {
            Caller::Anybody | Caller::Key | Caller::Client => &[],
            Caller::Credential | Caller::CredentialOrRoot | Caller::Grant => &CREDENTIAL,
        };
        let proof: &[Code] = match self.caller {
            Caller::Key => &[
                Code::InvalidRequest,
                Code::DuplicateAuthorization,
                Code::MissingToken,
                Code::MalformedToken,
                Code::ProofRequired,
                Code::InvalidProof,
                Code::UseDpopNonce,
            ],
            Caller::Client => &[Code::InvalidRequest, Code::DuplicateAuthorization],
            Caller::Anybody | Caller::Credential | Caller::CredentialOrRoot | Caller::Grant => &[],
        };
        let store: &[Code] = if self.caller == Caller::Anybody {
            &[]
        } else {
            &STORE
        };
        let mut all: Vec<Code> = Vec::new();
        for code in ALWAYS
            .iter()
            .chain(store)
            .chain(credential)
            .chain(proof)
            .chain(&self.errors)
        {
            if !all.contains(code) {
                all.push(*code);
            }
        }
        all
    }

    fn security(&self) -> Value {
        match self.caller {
            Caller::Anybody => json!([]),
            Caller::Key => json!([{"proof": []}, {"proof": [], "invite": []}]),
            Caller::Credential => json!([{"bearer": []}, {"grant": [], "proof": []}]),
            Caller::CredentialOrRoot => json!([{"grant": [], "proof": []}, {"bearer": []}]),
            Caller::Grant => json!([{"grant": [], "proof": []}]),
            Caller::Client => json!([{}, {"basic": []}, {"bearer": []}, {"proof": []}]),
        }
    }

    fn document(&self) -> Value {
        let mut responses = Map::new();
        for (status, answer) in &self.answers {
            responses.insert(status.as_u16().to_string(), answer.clone());
        }
        let mut refusals: std::collections::BTreeMap<u16, Vec<Code>> =
            std::collections::BTreeMap::new();
        for code in self.codes() {
            for status in self.statuses(code) {
                refusals.entry(status).or_default().push(code);
            }
        }
        for (status, codes) in refusals {
            let said = self.refusal(status, &codes);
            match responses.entry(status.to_string()) {
                serde_json::map::Entry::Vacant(place) => {
                    place.insert(said);
                }
                // `/readyz` says 503 in a form of its own.
                serde_json::map::Entry::Occupied(mut place) => merge(place.get_mut(), &said),
            }
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "security": self.security(),
            "parameters": self.parameters,
            "responses": responses,
        });
        if let (Some(body), Some(members)) = (&self.body, operation.as_object_mut()) {
            members.insert("requestBody".to_owned(), body.clone());
        }
        operation
    }

    /// The statuses that a code comes with here. OAuth's own are by the word
    /// that is said with it.
    fn statuses(&self, code: Code) -> Vec<u16> {
        let status = code.status().as_u16();
        if !self.is_oauth() || !matches!(status, 401 | 403) {
            return vec![status];
        }
        vec![400, 401]
    }

    fn refusal(&self, status: u16, codes: &[Code]) -> Value {
        let words: Vec<String> = codes.iter().map(|c| format!("`{}`", c.as_str())).collect();
        let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
        if let Some(members) = headers.as_object_mut() {
            let more: &[(&str, &str)] = match status {
                401 => &[("WWW-Authenticate", "Challenge")],
                429 | 503 => &[("Retry-After", "RetryAfter")],
                _ => &[],
            };
            for (name, reference) in more {
                let reference = format!("#/components/headers/{reference}");
                members.insert((*name).to_owned(), json!({"$ref": reference}));
            }
        }
        let (media_type, schema, form) = if self.is_oauth() {
            (JSON, "OAuthError", "oauth")
        } else {
            (PROBLEM_JSON, "Problem", "problem")
        };
        let examples: Map<String, Value> = codes
            .iter()
            .map(|code| {
                let key = format!("{}-{}-{form}", code.status().as_u16(), code.as_str());
                let reference = format!("#/components/examples/{key}");
                (code.as_str().to_owned(), json!({"$ref": reference}))
            })
            .collect();
        json!({
            "description": format!("Refused: {}", words.join(", ")),
            "headers": headers,
            "content": {media_type: {
                "schema": {"$ref": format!("#/components/schemas/{schema}")},
                "examples": examples,
            }},
        })
    }
}

/// Adds the media types of one answer to another of the same status.
fn merge(into: &mut Value, from: &Value) {
    let more = from.get("content").and_then(Value::as_object);
    if let (Some(content), Some(more)) =
        (into.get_mut("content").and_then(Value::as_object_mut), more)
    {
        content.extend(
            more.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
}

/// A router of these routes, and the document that describes them.
pub(super) fn router(mut routes: Vec<Route>) -> Router<Api> {
    let own = Endpoint::get(PATH, "openapi")
        .summary("This document")
        .answers(
            StatusCode::OK,
            "The document",
            "Document",
            &json!({"openapi": "3.1.0"}),
        );
    // Its text is made of all, its own description included.
    let text = {
        let endpoints = routes.iter().map(|route| &route.endpoint);
        Bytes::from(document(endpoints.chain([&own])).to_string())
    };
    routes.push(own.by(move || {
        let text = text.clone();
        async move { ([(http::header::CONTENT_TYPE, JSON)], text) }
    }));
    let add = |router: Router<Api>, route: Route| router.route(route.endpoint.path, route.handler);
    routes.into_iter().fold(Router::new(), add)
}

fn document<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.to_owned(), endpoint.document());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hardtack",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The API of the authority. Refusals have stable codes: docs/errors.md lists them.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "examples": examples(),
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// A refusal of each code, in both forms.
fn examples() -> Map<String, Value> {
    let mut all = Map::new();
    for code in Code::ALL {
        let (word, status) = (code.as_str(), code.status().as_u16());
        let problem = json!({
            "type": format!("urn:hardtack:error:{word}"),
            "title": code.title(),
            "status": status,
            "detail": code.meaning(),
            "code": word,
            "request_id": "01a20380-c0a9-7e4f-8d27-3f1f4fd7a1c2",
        });
        let oauth =
            json!({"error": "invalid_request", "error_description": code.meaning(), "code": word});
        for (form, value) in [("problem", problem), ("oauth", oauth)] {
            let example = json!({"summary": code.meaning(), "value": value});
            all.insert(format!("{status}-{word}-{form}"), example);
        }
    }
    all
}

fn headers() -> Value {
    json!({
        "RequestId": {"description": "Finds the line in the log", "required": true, "schema": {"type": "string", "format": "uuid"}},
        "RetryAfter": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}},
        "Challenge": {"description": "RFC 6750, RFC 9449; at /oauth a challenge for clients", "required": true, "schema": {"type": "string"}},
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "An access token for the issuer; at approve also the root token"},
        "grant": {"type": "http", "scheme": "DPoP", "description": "A grant, or a token that is bound to a key; with a proof"},
        "proof": {"type": "apiKey", "in": "header", "name": "DPoP", "description": "A DPoP proof (RFC 9449)"},
        "invite": {"type": "http", "scheme": "Invite", "description": "The code of an invite"},
        "basic": {"type": "http", "scheme": "basic", "description": "A service's name and token"},
    })
}
