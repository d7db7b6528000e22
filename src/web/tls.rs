//! The certificate of the listeners: one for all, read again when its files
//! change. TLS 1.2 and 1.3.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::web::listener::Http;
use crate::web::transport::Transport;

/// A certificate in force. A clone is the same one.
#[derive(Clone)]
pub struct Certificate {
    /// For doors of HTTP/1.1 alone, WebSockets among it.
    http1: TlsAcceptor,
    /// For doors that speak HTTP/2 too.
    http2: TlsAcceptor,
    in_force: Arc<InForce>,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first (PEM).
    pub chain: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::pki_types::pem::Error,
    },
    /// The chain is empty.
    #[error("{}: there is no certificate in it", .0.display())]
    Empty(PathBuf),
    /// The key is another one's, or of a kind that is not known.
    #[error("certificate and key do not make a pair: {0}")]
    Pair(#[source] rustls::Error),
    /// The library does not start.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

#[derive(Debug)]
struct InForce(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for InForce {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the files.
    pub fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let in_force = Arc::new(InForce(ArcSwap::from_pointee(files.read()?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&in_force) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsAcceptor::from(Arc::new(config.clone()));
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self {
            http1,
            http2: TlsAcceptor::from(Arc::new(config)),
            in_force,
        })
    }

    /// Puts what the files hold now in force for new connections. What does not
    /// read, or makes no pair, leaves the present one there.
    pub fn reload(&self, files: &CertificateFiles) -> Result<(), TlsError> {
        self.in_force.0.store(Arc::new(files.read()?));
        Ok(())
    }

    /// Begins a handshake. Which HTTP both sides speak is agreed on by ALPN.
    pub(crate) fn begin(&self, stream: TcpStream, speaks: Http) -> Transport {
        let acceptor = match speaks {
            Http::One => &self.http1,
            Http::OneAndTwo => &self.http2,
        };
        Transport::Handshake(Box::new(acceptor.accept(stream)))
    }
}

impl CertificateFiles {
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let chain = read_chain(&self.chain)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| TlsError::File {
            path: self.key.clone(),
            error,
        })?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(TlsError::Pair)
    }
}

/// The certificates of a file, at least one.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::File {
        path: path.to_owned(),
        error,
    };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let chain = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(chain)
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::other(error)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
