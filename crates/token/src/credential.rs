//! What a request presents to show who it is: the `Authorization` and `DPoP` headers.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

/// The header that carries a proof of possession (RFC 9449).
pub static DPOP: HeaderName = HeaderName::from_static("dpop");

/// What was presented. Nothing in it is verified.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// No `Authorization`, or one of a scheme that is not ours.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer(&'a str),
    /// `Authorization: DPoP <token>`.
    Dpop {
        /// The token.
        token: &'a str,
        /// The `DPoP` header.
        proof: Option<&'a str>,
    },
    /// A value that no token can have.
    Unreadable,
}

/// Why the headers do not say which credential is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There could be two credentials.
    #[error("a request carries one `Authorization` header with one credential in it")]
    Duplicate,
    /// There is more than one proof.
    #[error("there is more than one DPoP header")]
    DuplicateProof,
    /// The proof is no text.
    #[error("the DPoP header is not ASCII")]
    UnreadableProof,
}

impl<'a> Credential<'a> {
    /// Reads the two headers.
    ///
    /// SECURITY: proxies join repeated headers with a comma, and differ in
    /// which of two they take. Where there could be two tokens there is none.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, CredentialError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (values.next(), values.next());
        let Some(value) = first else {
            return Ok(Self::None);
        };
        if second.is_some() || value.as_bytes().contains(&b',') {
            return Err(CredentialError::Duplicate);
        }
        let Ok(value) = value.to_str() else {
            return Ok(Self::Unreadable);
        };
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        let token = token.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Self::Bearer(token))
        } else if scheme.eq_ignore_ascii_case("dpop") {
            let proof = proof(headers)?;
            Ok(Self::Dpop { token, proof })
        } else {
            // Another scheme's credential says nothing here (RFC 6750 section
            // 3.1): the challenge names the schemes that do.
            Ok(Self::None)
        }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer",
            Self::Dpop { .. } => "Dpop",
            Self::Unreadable => "Unreadable",
        })
    }
}

fn proof(headers: &HeaderMap) -> Result<Option<&str>, CredentialError> {
    let mut values = headers.get_all(&DPOP).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(proof) => Ok(Some(proof)),
            Err(_) => Err(CredentialError::UnreadableProof),
        },
        (Some(_), Some(_)) => Err(CredentialError::DuplicateProof),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(authorization: &[&[u8]], proofs: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        for value in proofs {
            headers.append(&DPOP, value.parse().unwrap());
        }
        match Credential::read(&headers) {
            Ok(Credential::Bearer(token)) => format!("bearer {token}"),
            Ok(Credential::Dpop { token, proof }) => format!("dpop {token} {proof:?}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(read(&[b"Bearer abc="], &[]), "bearer abc=");
        assert_eq!(read(&[b"bEARER  abc="], &["p"]), "bearer abc=");
        assert_eq!(read(&[b"dpop abc="], &["p"]), "dpop abc= Some(\"p\")");
        assert_eq!(read(&[b"DPoP abc="], &[]), "dpop abc= None");
        assert_eq!(read(&[b"Bearer"], &[]), "bearer ");
    }

    #[test]
    fn another_scheme_is_no_credential_here() {
        assert_eq!(read(&[], &["p"]), "None");
        assert_eq!(read(&[b"Basic dTpw"], &[]), "None");
        assert_eq!(read(&[b"abc="], &[]), "None");
        assert_eq!(read(&[b"Bearer \xff"], &[]), "Unreadable");
    }

    #[test]
    fn two_credentials_are_none() {
        assert_eq!(read(&[b"Bearer a", b"Bearer a"], &[]), "Duplicate");
        assert_eq!(read(&[b"Bearer a,Bearer b"], &[]), "Duplicate");
        assert_eq!(read(&[b"Basic a", b"Bearer \xff"], &[]), "Duplicate");
        assert_eq!(read(&[b"DPoP a"], &["p", "p"]), "DuplicateProof");
    }
}
