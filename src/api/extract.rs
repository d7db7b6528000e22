//! What handlers are given: the caller's credential, the body, the page.

use std::fmt;

use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Query, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hardtack_token::{Denial, TokenText};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::api::{Api, Refusal};
use crate::authority::caller::{Call, Credential, From};
use crate::authority::error::Error;
use crate::authority::proof::Target;
use crate::store::Page;
use crate::web::listener::Came;
use crate::web::peer::Peer;

const DPOP: HeaderName = HeaderName::from_static("dpop");
/// Where devices ask to be paired, which takes an invite.
pub(super) const PAIRING_REQUESTS: &str = "/v1/pairing-requests";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The parts of a request that say who calls.
#[derive(Debug)]
pub(crate) struct Incoming {
    method: String,
    path: String,
    credential: Credential,
    basic: Option<Basic>,
    /// The code of an invite. Asking to be paired alone takes it.
    invite: Option<Zeroizing<String>>,
    proof: Option<String>,
    /// The client's address, through trusted proxies only.
    pub(crate) address: String,
    exposed: bool,
}

/// A client's id and secret (RFC 6749 section 2.3.1). OAuth's endpoints alone take them.
pub(crate) struct Basic {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
}

impl Incoming {
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            target: self.target(),
            credential: self.credential.clone(),
            proof: self.proof(),
            from: self.from(),
        }
    }

    pub(crate) fn from(&self) -> From<'_> {
        From {
            address: &self.address,
            exposed: self.exposed,
        }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            method: &self.method,
            path: &self.path,
        }
    }

    pub(crate) fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    pub(crate) fn invite(&self) -> Option<&str> {
        self.invite.as_ref().map(|code| code.as_str())
    }

    pub(crate) const fn basic(&self) -> Option<&Basic> {
        self.basic.as_ref()
    }

    /// Whether there is no `Authorization` header: a device that only proves its key.
    pub(crate) const fn is_bare(&self) -> bool {
        matches!(self.credential, Credential::None)
    }
}

impl FromRequestParts<Api> for Incoming {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<ConnectInfo<Came>>();
        let nowhere = Came::plain([0, 0, 0, 0].into());
        let peer = peer.map_or(nowhere, |info| info.0);
        let proxies = &api.trusted_proxies;
        let peer = Peer::new(peer, proxies);
        let address = peer.client(&parts.headers, proxies);
        let authority = &api.authority;
        authority.limits().address(address, authority.millis())?;
        let path = parts.uri.path();
        let (mut credential, mut basic, mut invite) = (Credential::None, None, None);
        match authorization(&parts.headers)? {
            Authorization::Credential(found) => credential = found,
            Authorization::Basic(found) if path.starts_with("/oauth/") => basic = Some(found),
            Authorization::Invite(code) if path == PAIRING_REQUESTS => invite = Some(code),
            Authorization::Basic(_) | Authorization::Invite(_) => {
                return Err(Denial::MissingToken.into());
            }
        }
        Ok(Self {
            method: parts.method.as_str().to_owned(),
            path: path.to_owned(),
            credential,
            basic,
            invite,
            proof: proof(&parts.headers)?,
            address: address.to_string(),
            exposed: peer.is_exposed(&parts.headers, proxies),
        })
    }
}

enum Authorization {
    Credential(Credential),
    Basic(Basic),
    Invite(Zeroizing<String>),
}

fn authorization(headers: &HeaderMap) -> Result<Authorization, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Ok(Authorization::Credential(Credential::None));
    };
    let value = value
        .to_str()
        .map_err(|_| Denial::Malformed("the header is not ASCII"))?;
    // SECURITY: proxies join repeated headers with a comma; which of two tokens
    // counts must not depend on who reads it.
    if second.is_some() || value.contains(',') {
        return Err(Error::DuplicateAuthorization.into());
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let token = || TokenText::new(rest.trim()).map_err(Refusal::from);
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Authorization::Credential(Credential::Bearer(token()?)))
    } else if scheme.eq_ignore_ascii_case("dpop") {
        Ok(Authorization::Credential(Credential::Dpop(token()?)))
    } else if scheme.eq_ignore_ascii_case("basic") {
        let basic = Basic::read(rest.trim());
        let why = "`Authorization: Basic` does not read: the form-encoded client id and secret, joined by a colon, in base64";
        let basic = basic.ok_or_else(|| Error::InvalidRequest(why.to_owned()))?;
        Ok(Authorization::Basic(basic))
    } else if scheme.eq_ignore_ascii_case("invite") {
        let code = rest.trim().to_owned();
        Ok(Authorization::Invite(Zeroizing::new(code)))
    } else {
        Err(Denial::MissingToken.into())
    }
}

impl Basic {
    fn read(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        let text = std::str::from_utf8(&bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        // Both are form-encoded before they are joined. A token's own letters
        // read the same whether a client did so or not.
        let decoded = |part: &str| {
            let part = Zeroizing::new(part.replace('+', " "));
            let decoded = percent_decode_str(&part).decode_utf8().ok()?;
            Some(decoded.into_owned())
        };
        Some(Self {
            id: decoded(id)?,
            secret: Zeroizing::new(decoded(secret)?),
        })
    }
}

impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Basic({})", self.id)
    }
}

fn proof(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(DPOP).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Error::InvalidRequest("the DPoP header is not ASCII".to_owned()).into()),
        },
        (Some(_), Some(_)) => {
            Err(Error::InvalidRequest("there is more than one DPoP header".to_owned()).into())
        }
    }
}

/// A JSON body; an empty one reads as an object without members.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let bytes = bytes::Bytes::from_request(request, api)
            .await
            .map_err(|e| too_large_or(e.status(), "the body could not be read"))?;
        let bytes = if bytes.is_empty() {
            b"{}".as_slice()
        } else {
            &bytes
        };
        // serde takes a list for a structure's members in their order: `[]`
        // would be a request without any.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::InvalidRequest("the body is not a JSON object".to_owned()).into());
        }
        axum::Json::from_bytes(bytes)
            .map(|axum::Json(value)| Self(value))
            .map_err(|rejection: JsonRejection| {
                too_large_or(rejection.status(), &json_fault(&rejection))
            })
    }
}

/// A form body.
#[derive(Debug)]
pub(crate) struct Form(pub(crate) Vec<(String, String)>);

impl FromRequest<Api> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        axum::Form::from_request(request, api)
            .await
            .map(|axum::Form(members)| Self(members))
            .map_err(|rejection: FormRejection| {
                too_large_or(rejection.status(), &rejection.body_text())
            })
    }
}

/// `limit` and `after` of a list.
#[derive(Debug)]
pub(crate) struct Listing {
    page: Page<String>,
    query: Vec<(String, String)>,
}

impl Listing {
    /// A member of the query other than `limit` and `after`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn limit(&self) -> usize {
        self.page.limit as usize
    }

    /// The page after a cursor of this type.
    pub(crate) fn page<T: std::str::FromStr>(&self) -> Result<Page<T>, Refusal> {
        // A cursor is an id or a number, and none of ours is below zero.
        let after = self.page.after.as_deref().map(|text| match text {
            text if text.starts_with('-') => "".parse(),
            text => text.parse(),
        });
        let after = after.transpose();
        Ok(Page {
            after: after.map_err(|_| Error::InvalidRequest("`after` is no cursor".to_owned()))?,
            limit: self.page.limit,
        })
    }
}

impl FromRequestParts<Api> for Listing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let invalid = |why: &str| Refusal::from(Error::InvalidRequest(why.to_owned()));
        let Query(query) = Query::<Vec<(String, String)>>::from_request_parts(parts, api)
            .await
            .map_err(|e: QueryRejection| invalid(&e.body_text()))?;
        // SECURITY: what is in a URL ends in logs; a credential there is refused
        // so that nobody grows used to it.
        let secret = ["access_token", "token", "grant"];
        if query.iter().any(|(key, _)| secret.contains(&key.as_str())) {
            return Err(invalid("credentials do not belong into the URL"));
        }
        let get = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, v)| v);
        let limit = match get("limit").map(|text| text.parse::<u32>()) {
            None => 100,
            Some(Ok(limit @ 1..=500)) => limit,
            Some(_) => return Err(invalid("`limit` must be 1 to 500")),
        };
        Ok(Self {
            page: Page {
                after: get("after").cloned(),
                limit,
            },
            query,
        })
    }
}

/// The last event that a follower has seen, if it has seen one.
#[derive(Debug)]
pub(crate) struct LastEventId(pub(crate) Option<i64>);

impl FromRequestParts<Api> for LastEventId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Refusal> {
        let Some(value) = parts.headers.get(LAST_EVENT_ID) else {
            return Ok(Self(None));
        };
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        let number = number.filter(|number| *number >= 0).ok_or_else(|| {
            Error::InvalidRequest("`Last-Event-ID` is no id of an event".to_owned())
        })?;
        Ok(Self(Some(number)))
    }
}

/// The path's `{id}` as text. What does not decode is as unknown as another id.
#[derive(Debug)]
pub(crate) struct Path(pub(crate) String);

impl FromRequestParts<Api> for Path {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        axum::extract::Path::from_request_parts(parts, api)
            .await
            .map(|axum::extract::Path(text)| Self(text))
            .map_err(|_: PathRejection| Error::NoSuchPath.into())
    }
}

/// The path's `{id}` as its type; anything else is as unknown as another id.
pub(crate) fn id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Error::NotFound(what).into())
}

fn too_large_or(status: StatusCode, why: &str) -> Refusal {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Error::TooLarge.into()
    } else {
        Error::InvalidRequest(why.to_owned()).into()
    }
}

fn json_fault(rejection: &JsonRejection) -> String {
    // The innermost cause says what and where; the outer ones only that.
    let mut cause: &dyn std::error::Error = rejection;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("the body does not read as JSON of this kind: {cause}")
}
