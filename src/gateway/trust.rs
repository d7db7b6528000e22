//! Whom upstreams have to have their certificates from.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};

use crate::gateway::upstreams::UpstreamError;
use crate::web::tls::read_chain;

/// Trusts the authorities that this machine trusts, and those of a file besides.
/// With a file that names some, the machine need not have any.
pub(crate) fn client_config(authorities: Option<&Path>) -> Result<ClientConfig, UpstreamError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if let Some(file) = authorities {
        for certificate in read_chain(file)? {
            let added = roots.add(certificate);
            added.map_err(|error| UpstreamError::Authority {
                file: file.to_owned(),
                error,
            })?;
        }
    }
    if roots.is_empty() {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(UpstreamError::NoAuthorities(why.join("; ")));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions();
    let config = config.map_err(UpstreamError::Setup)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
