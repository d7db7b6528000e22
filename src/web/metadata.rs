//! The metadata of a protected resource (RFC 9728): the API and the gateway
//! publish the same document, each about itself.

use hardtack_token::{Catalog, Origin};
use serde::Serialize;

use crate::web::problem::DPOP_ALGS;

/// What a client finds out about a resource before it has a token for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProtectedResource {
    resource: String,
    resource_name: &'static str,
    authorization_servers: [String; 1],
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    dpop_signing_alg_values_supported: [&'static str; 2],
    dpop_bound_access_tokens_required: bool,
}

impl ProtectedResource {
    /// The document of a resource whose tokens `issuer` gives.
    pub(crate) fn new(
        resource: &Origin,
        resource_name: &'static str,
        issuer: &Origin,
        catalog: &Catalog,
    ) -> Self {
        Self {
            resource: resource.to_string(),
            resource_name,
            authorization_servers: [issuer.to_string()],
            scopes_supported: declared(catalog),
            bearer_methods_supported: ["header"],
            dpop_signing_alg_values_supported: DPOP_ALGS,
            dpop_bound_access_tokens_required: false,
        }
    }
}

/// The names of the declared scopes.
pub(crate) fn declared(catalog: &Catalog) -> Vec<String> {
    let declared = catalog.declared().iter();
    declared.map(|d| d.scope.to_string()).collect()
}
