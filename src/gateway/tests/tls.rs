//! Upstreams whose connections are encrypted.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client::read_until;
use super::http2::Http2;
use super::sockets::soon;
use super::support::{Setup, World};
use super::upstreams::echo;
use crate::gateway::names::Names;

/// An authority of a test's own, and a certificate that it gave to `up.example`.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let this = Self(TempDir::new().unwrap());
        let new = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let openssl = |args: &[&[&str]]| {
            let mut openssl = Command::new("openssl");
            let ran = openssl
                .args(args.concat())
                .current_dir(this.0.path())
                .output();
            let ran = ran.unwrap();
            assert!(
                ran.status.success(),
                "{}",
                String::from_utf8_lossy(&ran.stderr)
            );
        };
        let root = [
            "-x509", "-days", "2", "-subj", "/CN=root", "-out", "ca.pem", "-keyout", "ca.key",
        ];
        openssl(&[&new, &root]);
        openssl(&[
            &new,
            &["-subj", "/CN=up", "-out", "up.csr", "-keyout", "up.key"],
        ]);
        let names = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:up.example\n";
        std::fs::write(this.file("names"), names).unwrap();
        let sign = [
            "x509", "-req", "-in", "up.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
        ];
        openssl(&[
            &sign,
            &["-CAcreateserial", "-extfile", "names", "-out", "up.pem"],
        ]);
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An echo that agrees on one of these protocols. Gives its port, and counts
    /// the connections of HTTP/2.
    async fn serve(&self, protocols: &[&str]) -> (u16, Arc<AtomicUsize>) {
        let chain = CertificateDer::pem_file_iter(self.file("up.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("up.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let agreed = Arc::<AtomicUsize>::default();
        let told = Arc::clone(&agreed);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => {
                        agreed.fetch_add(1, Ordering::SeqCst);
                        let http2 = http2::Builder::new(TokioExecutor::new());
                        let io = TokioIo::new(stream);
                        tokio::spawn(http2.serve_connection(io, service_fn(echo)));
                    }
                    Some(_) => {
                        let io = TokioIo::new(stream);
                        let http1 = http1::Builder::new();
                        tokio::spawn(http1.serve_connection(io, service_fn(echo)));
                    }
                    // Who offers nothing wants a WebSocket.
                    None => {
                        let answer = "HTTP/1.1 101 Switching Protocols\r\n\
                                      connection: Upgrade\r\nupgrade: websocket\r\n\r\nhello";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        (port, told)
    }
}

fn setup(name: &str, port: u16, authorities: Option<PathBuf>) -> Setup {
    let names = Names::new(|_| async { Ok(vec!["127.0.0.1:0".parse().unwrap()]) });
    Setup {
        upstream: Some(format!("https://{name}:{port}")),
        upstream_ca: authorities,
        names: Some((names, Duration::from_hours(1))),
        ..Setup::default()
    }
}

#[tokio::test]
async fn an_upstream_has_its_certificate_from_an_authority_that_was_named() {
    let (mut world, authority) = (World::new(), Authority::new());
    let other = Authority::new();
    for (protocols, connections) in [(&["h2", "http/1.1"][..], 1), (&["http/1.1"], 0)] {
        let (port, http2) = authority.serve(protocols).await;
        let gateway = world
            .start(setup("up.example", port, Some(authority.file("ca.pem"))))
            .await;
        let mut client = Http2::connect(&gateway).await;
        for _ in 0..3 {
            assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
            assert_eq!(client.send("GET /assets/x", &[]).await.status, 200);
        }
        assert_eq!(http2.load(Ordering::SeqCst), connections);
    }
    // Another name, another authority, and none but those of the machine.
    let (port, _) = authority.serve(&["h2"]).await;
    for (name, authorities) in [
        ("else.example", Some(authority.file("ca.pem"))),
        ("up.example", Some(other.file("ca.pem"))),
        ("up.example", None),
    ] {
        let gateway = world.start(setup(name, port, authorities)).await;
        let answer = gateway.send("GET /assets/x", &[]).await;
        assert_eq!(answer.outcome(), "502 upstream_failed", "{name}");
    }
}

#[tokio::test]
async fn a_websocket_gets_a_connection_of_its_own_where_http2_is_agreed_on() {
    let (mut world, authority) = (World::new(), Authority::new());
    let (port, http2) = authority.serve(&["h2"]).await;
    let setup = setup("up.example", port, Some(authority.file("ca.pem")));
    let gateway = world.start(setup).await;
    assert_eq!(gateway.send("GET /assets/x", &[]).await.status, 200);
    let mut client = gateway.connect().await;
    let head = "GET /assets/live HTTP/1.1\r\nhost: gw.example\r\nconnection: Upgrade\r\n\
                upgrade: websocket\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = soon(read_until(&mut client, "hello")).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(http2.load(Ordering::SeqCst), 1);
}
