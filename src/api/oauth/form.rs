//! The members of a form, read as RFC 6749 section 3.2 says.

use hardtack_token::{InvalidId, ScopeSet};

use crate::api::extract::Form;
use crate::authority::error::Error;
use crate::authority::exchange::Wanted;

impl Form {
    /// A member that may be there once; an empty one is absent.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Error> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|v| !v.is_empty())),
            (_, Some(_)) => Err(Error::InvalidRequest(format!("`{name}` is there twice"))),
        }
    }

    /// A member that must be there.
    pub(super) fn required<'a>(&'a self, name: &'a str) -> Result<&'a str, Error> {
        self.one(name)?
            .ok_or_else(|| Error::InvalidRequest(format!("`{name}` is missing")))
    }

    /// The values of a member that may be there several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// `scope`; absent is not the same as empty.
    pub(super) fn scopes(&self) -> Result<Option<ScopeSet>, Error> {
        let scopes = self.one("scope")?.map(str::parse).transpose();
        scopes.map_err(|e: InvalidId| Error::InvalidRequest(format!("`scope` does not read: {e}")))
    }

    /// What a client asks for with any grant type: `scope`, `audience` and
    /// `resource` (RFC 8693, RFC 8707), and `expires_in`, which is hardtack's own.
    pub(super) fn wanted(&self) -> Result<Wanted, Error> {
        let expires_in = self.one("expires_in")?.map(str::parse).transpose();
        let audiences = ["audience", "resource"]
            .into_iter()
            .flat_map(|name| self.all(name))
            .filter(|value| !value.is_empty());
        Ok(Wanted {
            scopes: self.scopes()?,
            audiences: audiences.map(str::to_owned).collect(),
            expires_in: expires_in
                .map_err(|_| Error::InvalidRequest("`expires_in` is no number".to_owned()))?,
        })
    }
}
