//! Who the client is, as its request says it: `client_secret_basic`,
//! `client_secret_post`, `private_key_jwt`, a DPoP header, or nothing.

use crate::api::extract::{Basic, Form, Incoming};
use crate::authority::client::Proofs;
use crate::authority::error::Error;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Sorts out what came in headers and what came in the form. A client says who
/// it is in one way only (RFC 6749 section 2.3).
pub(super) fn proofs<'a>(incoming: &'a Incoming, form: &'a Form) -> Result<Proofs<'a>, Error> {
    let assertion = form.one("client_assertion")?;
    let kind = form.one("client_assertion_type")?;
    if assertion.is_some() && kind != Some(JWT_BEARER) {
        return Err(Error::InvalidRequest(format!(
            "`client_assertion_type` must be `{JWT_BEARER}`"
        )));
    }
    let (named, secret) = (form.one("client_id")?, form.one("client_secret")?);
    let (client_id, secret) = match incoming.basic() {
        None => (named, secret),
        Some(_) if secret.is_some() => {
            return Err(Error::InvalidRequest(
                "there are two client secrets: in `Authorization` and in the form".to_owned(),
            ));
        }
        Some(Basic { id, .. }) if named.is_some_and(|named| named != id) => {
            return Err(Error::WrongClient);
        }
        Some(Basic { id, secret }) => (Some(id.as_str()), Some(secret.as_str())),
    };
    Ok(Proofs {
        target: incoming.target(),
        dpop: incoming.proof(),
        assertion,
        client_id,
        secret,
    })
}
