//! Calls of the API with whatever credential was found.

use std::path::Path;

use ed25519_dalek::SigningKey;
use hardtack_token::{DeviceId, TokenText};
use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::Value;

use super::client::{Answer, Body, Client, Identity, nonce};
use super::context::{Context, DEFAULT_PROFILE};
use super::credential::{Credential, CredentialKind};
use super::failure::Failure;
use super::jwt;
use super::output::text;
use crate::authority::OPERATOR;
use crate::domain::operation::Operation;
use crate::domain::policy::Policy;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long a session that stands for one command may live, in seconds.
const COMMAND_SESSION: u64 = 60;

/// A server and the credential that is used with it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) instance_id: String,
    pub(super) credential: Credential,
    /// The local device's grant, once it was fetched.
    fetched: Option<TokenText>,
}

/// What an exchange is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange {
    pub(super) scopes: Vec<String>,
    pub(super) audience: Option<String>,
    pub(super) expires_in: Option<u64>,
    pub(super) dpop: bool,
}

impl Session {
    /// Finds the server, asks which install it is, and finds the credential for it.
    pub(super) async fn open(context: &Context) -> Result<Self, Failure> {
        let client = context.client(context.request_timeout())?;
        let instance_id = instance_id(&client).await?;
        Ok(Self {
            credential: Credential::find(context, &instance_id)?,
            client,
            instance_id,
            fetched: None,
        })
    }

    /// Calls an operation. A refusal names the credential that was used.
    pub(super) async fn call(
        &mut self,
        operation: Operation,
        method: Method,
        path_and_query: &str,
        body: Body,
    ) -> Result<Value, Failure> {
        let answer = self.answer(operation, &method, path_and_query, &body);
        let called = match answer.await {
            Ok(answer) => self.client.read(answer).await.and_then(Answer::success),
            Err(failure) => Err(failure),
        };
        called.map_err(|failure| self.explain(failure))
    }

    /// Opens what answers as long as it is read.
    pub(super) async fn listen(
        &mut self,
        operation: Operation,
        path_and_query: &str,
    ) -> Result<Incoming, Failure> {
        let opened = self.answer(operation, &Method::GET, path_and_query, &Body::None);
        let opened = match opened.await {
            Ok(answer) if answer.status().is_success() => Ok(answer.into_body()),
            Ok(answer) => match self.client.read(answer).await {
                Ok(answer) => Err(Failure::answered(answer.status.as_u16(), answer.body)),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        opened.map_err(|failure| self.explain(failure))
    }

    /// Calls an operation whose answer is a file.
    pub(super) async fn download(
        &mut self,
        operation: Operation,
        method: Method,
        path: &str,
        body: Body,
        to: &Path,
    ) -> Result<(), Failure> {
        let answer = self.answer(operation, &method, path, &body).await;
        let saved = match answer {
            Ok(answer) if answer.status().is_success() => self.client.save(answer, to).await,
            Ok(answer) => match self.client.read(answer).await {
                Ok(answer) => answer.success().map(drop),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        saved.map_err(|failure| self.explain(failure))
    }

    /// Names the credential that was used, and its profile in the commands that
    /// get on: the server does not know what it is called here.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        let failure = failure.with_used(self.credential.source.clone());
        match &self.credential.kind {
            CredentialKind::Profile { name, .. } if name != DEFAULT_PROFILE => {
                failure.for_profile(name)
            }
            CredentialKind::Profile { .. }
            | CredentialKind::Root(_)
            | CredentialKind::Access(_)
            | CredentialKind::LocalDevice { .. }
            | CredentialKind::None => failure,
        }
    }

    async fn answer(
        &mut self,
        operation: Operation,
        method: &Method,
        path_and_query: &str,
        body: &Body,
    ) -> Result<Response<Incoming>, Failure> {
        if let CredentialKind::Root(root) = &self.credential.kind
            && operation != Operation::PairingApprove
        {
            let token = self.root_session(root, operation).await?;
            let bearer = bearer(&token);
            let answer = self.client.open(method, path_and_query, body, &bearer);
            return answer.await;
        }
        let mut proof_nonce = None;
        loop {
            let identity = self
                .identity(method, path_and_query, proof_nonce.as_deref())
                .await?;
            let answer = self
                .client
                .open(method, path_and_query, body, &identity)
                .await?;
            match nonce(answer.headers()) {
                // Once: a server that asks again refuses what it gave.
                Some(given) if proof_nonce.is_none() && answer.status() == 401 => {
                    proof_nonce = Some(given.to_owned());
                }
                Some(_) | None => return Ok(answer),
            }
        }
    }

    /// Exchanges the credential for an access token.
    pub(super) async fn exchange(&mut self, wanted: &Exchange) -> Result<Value, Failure> {
        let exchanged = self.exchange_unnamed(wanted).await;
        exchanged.map_err(|failure| self.explain(failure))
    }

    async fn exchange_unnamed(&mut self, wanted: &Exchange) -> Result<Value, Failure> {
        let device = self.device().await?;
        let (subject, kind, key) = match (&self.credential.kind, device) {
            (_, Some((key, grant, _))) => (grant, "refresh_token", Some(key)),
            (CredentialKind::Root(token), None) => (token.clone(), "root", None),
            (CredentialKind::Access(token), None) => (token.clone(), "access_token", None),
            (_, None) => {
                return Err(Failure::new(
                    super::failure::Exit::Refused,
                    "missing_token",
                    "there is no credential to exchange",
                )
                .with_next("hardtack pair --scopes operator.read"));
            }
        };
        self.exchange_subject(&subject, kind, key.as_ref(), wanted)
            .await
    }

    async fn exchange_subject(
        &self,
        subject: &TokenText,
        kind: &str,
        key: Option<&SigningKey>,
        wanted: &Exchange,
    ) -> Result<Value, Failure> {
        const PATH: &str = "/oauth/token";
        let kind = match kind {
            "root" => "urn:hardtack:token-type:root".to_owned(),
            other => format!("urn:ietf:params:oauth:token-type:{other}"),
        };
        let mut members = vec![
            ("grant_type", TOKEN_EXCHANGE.to_owned()),
            ("subject_token", subject.expose().to_owned()),
            ("subject_token_type", kind),
        ];
        if !wanted.scopes.is_empty() {
            members.push(("scope", wanted.scopes.join(" ")));
        }
        members.extend(wanted.audience.clone().map(|a| ("audience", a)));
        members.extend(wanted.expires_in.map(|s| ("expires_in", s.to_string())));
        if let (Some(key), false) = (key, wanted.dpop) {
            members.push(("client_assertion_type", JWT_BEARER.to_owned()));
            members.push((
                "client_assertion",
                jwt::assertion(key, self.client.server()),
            ));
        }
        let body = Body::Form(members);
        let mut nonce: Option<String> = None;
        loop {
            let url = self.client.url(PATH);
            let proof = key.filter(|_| wanted.dpop);
            let identity = Identity {
                authorization: None,
                proof: proof.map(|key| jwt::dpop(key, "POST", &url, None, nonce.as_deref())),
            };
            let answer = self
                .client
                .send(&Method::POST, PATH, &body, &identity)
                .await?;
            match answer.nonce() {
                Some(given) if nonce.is_none() && answer.status == 400 => {
                    nonce = Some(given.to_owned());
                }
                Some(_) | None => return answer.success(),
            }
        }
    }

    /// A session of the root token with the scope of one operation: the root
    /// token itself is not accepted anywhere else.
    async fn root_session(
        &self,
        root: &TokenText,
        operation: Operation,
    ) -> Result<TokenText, Failure> {
        // The scopes of the built-in policy; where the server's differs, the
        // refusal names the one it wants.
        let policy = Policy::load(&[]).map_err(|e| Failure::unexpected(e.to_string()))?;
        let operations = match operation {
            Operation::DevicesRevoke | Operation::DevicesRetire | Operation::TokensRevoke => {
                vec![operation, Operation::DevicesEndAny]
            }
            other => vec![other],
        };
        let scopes = operations
            .iter()
            .filter_map(|o| policy.operation(*o))
            .map(|(scope, _)| scope.to_string());
        let mut scopes: Vec<String> = scopes.collect();
        if scopes.is_empty() {
            scopes.push("operator.read".to_owned());
        }
        let wanted = Exchange {
            scopes,
            audience: Some(self.issuer().await?),
            expires_in: Some(COMMAND_SESSION),
            dpop: false,
        };
        let answer = self.exchange_subject(root, "root", None, &wanted).await?;
        TokenText::new(text(&answer, "access_token"))
            .map_err(|_| Failure::unexpected("the server answered without an access token"))
    }

    /// The API's own audience.
    pub(super) async fn issuer(&self) -> Result<String, Failure> {
        const PATH: &str = "/.well-known/oauth-authorization-server";
        let answer = self
            .client
            .send(&Method::GET, PATH, &Body::None, &Identity::default())
            .await?;
        Ok(text(&answer.success()?, "issuer").to_owned())
    }

    async fn identity(
        &mut self,
        method: &Method,
        path_and_query: &str,
        nonce: Option<&str>,
    ) -> Result<Identity, Failure> {
        if let Some((key, grant, _)) = self.device().await? {
            let path = path_and_query.split('?').next().unwrap_or_default();
            let url = self.client.url(path);
            let token = grant.expose();
            return Ok(Identity {
                authorization: Some(format!("DPoP {token}")),
                proof: Some(jwt::dpop(&key, method.as_str(), &url, Some(token), nonce)),
            });
        }
        Ok(match &self.credential.kind {
            CredentialKind::Root(token) | CredentialKind::Access(token) => bearer(token),
            CredentialKind::Profile { .. }
            | CredentialKind::LocalDevice { .. }
            | CredentialKind::None => Identity::default(),
        })
    }

    /// The device's key, grant and role, if the credential is a device's.
    pub(super) async fn device(
        &mut self,
    ) -> Result<Option<(SigningKey, TokenText, String)>, Failure> {
        match &self.credential.kind {
            CredentialKind::Profile {
                key, grant, role, ..
            } => Ok(Some((key.clone(), grant.clone(), role.clone()))),
            CredentialKind::LocalDevice { key } => {
                let key = key.clone();
                let grant = match self.fetched.clone() {
                    Some(grant) => grant,
                    None => self.fetch_local(&key).await?,
                };
                self.fetched = Some(grant.clone());
                Ok(Some((key, grant, OPERATOR.to_owned())))
            }
            CredentialKind::Root(_) | CredentialKind::Access(_) | CredentialKind::None => Ok(None),
        }
    }

    async fn fetch_local(&self, key: &SigningKey) -> Result<TokenText, Failure> {
        let device = DeviceId::of(&key.verifying_key());
        let path = format!("/v1/devices/{device}/grant");
        let fetched = fetch(&self.client, key, &path).await;
        let fetched = fetched.map_err(|failure| {
            let ended = ["revoked", "retired", "not_found"].contains(&failure.code());
            let mut failure = failure.with_used(self.credential.source.clone());
            if ended {
                // To pair anew is for devices that asked to be paired.
                failure.problem.remove("next");
                failure.with_next("hardtack root reset    # as the owner of the data directory")
            } else {
                failure
            }
        })?;
        TokenText::new(text(&fetched, "grant"))
            .map_err(|_| Failure::unexpected("the server answered without a grant"))
    }
}

/// Gets something for a device that proves its key and nothing else.
pub(super) async fn fetch(client: &Client, key: &SigningKey, path: &str) -> Result<Value, Failure> {
    prove(client, key, &Method::GET, path, &Body::None)
        .await?
        .success()
}

/// Sends a request with a proof of a key and no credential.
pub(super) async fn prove(
    client: &Client,
    key: &SigningKey,
    method: &Method,
    path: &str,
    body: &Body,
) -> Result<Answer, Failure> {
    prove_with(client, key, method, path, body, None).await
}

/// The same with something in `Authorization` that the proof does not name.
pub(super) async fn prove_with(
    client: &Client,
    key: &SigningKey,
    method: &Method,
    path: &str,
    body: &Body,
    authorization: Option<&str>,
) -> Result<Answer, Failure> {
    let mut nonce: Option<String> = None;
    loop {
        let url = client.url(path);
        let proof = jwt::dpop(key, method.as_str(), &url, None, nonce.as_deref());
        let identity = Identity {
            authorization: authorization.map(str::to_owned),
            proof: Some(proof),
        };
        let answer = client.send(method, path, body, &identity).await?;
        match answer.nonce() {
            Some(given) if nonce.is_none() && answer.status == 401 => {
                nonce = Some(given.to_owned());
            }
            Some(_) | None => return Ok(answer),
        }
    }
}

/// Which install a server is of.
pub(super) async fn instance_id(client: &Client) -> Result<String, Failure> {
    const PATH: &str = "/.well-known/hardtack";
    let answer = client
        .send(&Method::GET, PATH, &Body::None, &Identity::default())
        .await?;
    let status = answer.status.as_u16();
    let value = answer.success().unwrap_or_default();
    match text(&value, "instance_id") {
        "" => Err(Failure::new(
            super::failure::Exit::Unreachable,
            "not_hardtack",
            format!(
                "{} answers {status}, and not as a hardtack server",
                client.server()
            ),
        )
        .with_next("hardtack whoami --url URL    # the URL of the API, not of the gateway")),
        id => Ok(id.to_owned()),
    }
}

fn bearer(token: &TokenText) -> Identity {
    Identity {
        authorization: Some(format!("Bearer {}", token.expose())),
        proof: None,
    }
}
