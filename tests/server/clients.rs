//! Other people's OAuth clients, over https that nginx ends: the programs of
//! `tests/clients`, each of them run to its end. `tests/clients/run` installs what
//! they need.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use oauth2::basic::BasicClient;
use oauth2::{
    ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, RevocationUrl, Scope,
    TokenIntrospectionResponse, TokenResponse, TokenUrl,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::support::nginx::{Nginx, free_port};
use crate::support::{Install, Machine};

/// How often other ports are tried.
const TRIES: usize = 5;

/// An install behind nginx, which ends TLS before both listeners.
struct Site {
    install: Install,
    /// The URLs that clients know.
    api: String,
    gateway: String,
    certificate: PathBuf,
    _nginx: Nginx,
}

impl Site {
    fn new() -> Self {
        (0..TRIES)
            .find_map(|_| Self::try_new())
            .expect("ports that stay free")
    }

    fn try_new() -> Option<Self> {
        let host = Machine::new();
        let certificate = certify(&host);
        let [api, gateway, behind] = [free_port(), free_port(), free_port()];
        let url = |port: u16| format!("https://127.0.0.1:{port}");
        let listen = format!("127.0.0.1:{behind}");
        let install = Install::on(
            host,
            &[
                "--public-url",
                &url(api),
                "--gateway-url",
                &url(gateway),
                "--gateway-listen",
                &listen,
                "--trusted-proxy",
                "127.0.0.1/32",
            ],
        );
        let file = std::fs::read_to_string(install.host.data_dir().join("server.json")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        let inside = file["url"].as_str().unwrap().to_owned();
        let site = |port: u16, inside: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; server_name 127.0.0.1;\n\
                   ssl_certificate ../server.pem; ssl_certificate_key ../server.key;\n\
                   large_client_header_buffers 4 16k;\n\
                   location / {{ proxy_pass {inside}; proxy_set_header X-Forwarded-For $remote_addr;\n\
                     proxy_set_header X-Forwarded-Proto $scheme; }} }}\n"
            )
        };
        let sites = site(api, &inside) + &site(gateway, &format!("http://{listen}"));
        let nginx = Nginx::try_start(&install.host, &sites, api)?;
        Some(Self {
            install,
            api: url(api),
            gateway: url(gateway),
            certificate,
            _nginx: nginx,
        })
    }

    fn issue(&self, name: &str, more: &[&str]) -> String {
        let args = [&["token", "issue", name], more].concat();
        self.install.host.run(&args).ok().trim().to_owned()
    }

    /// What the programs are told.
    fn settings(&self) -> String {
        let read = ["--scopes", "operator.read"];
        let admin = ["--scopes", "operator.admin", "--audience", &self.api];
        let settings = json!({
            "issuer": self.api,
            "gateway": self.gateway,
            "service": {"name": "ci", "secret": self.issue("ci", &read)},
            "asker": {"name": "resource-server", "secret": self.issue("resource-server", &admin)},
        });
        self.install
            .host
            .file("settings.json", &settings.to_string())
    }

    /// Runs a program to its end, and approves what it asks for. It must have
    /// said `ok` so many times.
    fn play(&self, program: PathBuf, name: &str, steps: usize) {
        let settings = self.settings();
        let mut child = Command::new(program)
            .args([
                self.install
                    .host
                    .path("clients")
                    .join(name)
                    .to_str()
                    .unwrap(),
                &settings,
            ])
            .env("NODE_EXTRA_CA_CERTS", &self.certificate)
            .env("REQUESTS_CA_BUNDLE", &self.certificate)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut done = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line.split_once(' ') {
                Some(("approve", code)) => {
                    self.install.host.run(&["devices", "approve", code]).ok();
                }
                Some(("ok", step)) => done.push(step.to_owned()),
                _ => panic!("{line}"),
            }
        }
        let status = child.wait().unwrap();
        assert!(
            status.success(),
            "{name} ended with {status} after {done:?}"
        );
        assert_eq!(done.len(), steps, "{done:?}");
        println!("{name}: {}", done.join("; "));
    }

    /// Lays out the programs beside the libraries that were installed for them.
    fn laid_out(self) -> Self {
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
        let to = self.install.host.path("clients");
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        std::os::unix::fs::symlink(
            installed("HARDTACK_TEST_NODE_MODULES"),
            to.join("node_modules"),
        )
        .unwrap();
        self
    }
}

/// A certificate for this host, and its key.
fn certify(host: &Machine) -> PathBuf {
    let (certificate, key) = (host.path("server.pem"), host.path("server.key"));
    let mut openssl = Command::new("openssl");
    openssl
        .args("req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2".split(' '))
        .args([
            "-subj",
            "/CN=hardtack",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args([&"-out".into(), &certificate, &"-keyout".into(), &key])
        .stderr(Stdio::null());
    assert!(openssl.status().unwrap().success());
    certificate
}

/// Where the stage of `scripts/test` put something.
fn installed(variable: &str) -> PathBuf {
    let value = std::env::var_os(variable);
    value
        .unwrap_or_else(|| panic!("{variable} is not set: run `tests/clients/run`"))
        .into()
}

fn node() -> PathBuf {
    installed("HARDTACK_TEST_NODE")
}

fn python() -> PathBuf {
    installed("HARDTACK_TEST_PYTHON")
}

#[test]
#[ignore = "needs packages: run `tests/clients/run`"]
fn openid_client_does_everything() {
    Site::new().laid_out().play(node(), "openid-client.mjs", 8);
}

#[test]
#[ignore = "needs packages: run `tests/clients/run`"]
fn oauth4webapi_does_everything() {
    Site::new().laid_out().play(node(), "oauth4webapi.mjs", 8);
}

#[test]
#[ignore = "needs packages: run `tests/clients/run`"]
fn authlib_is_a_service_and_a_resource_server() {
    Site::new()
        .laid_out()
        .play(python(), "authlib_client.py", 5);
}

#[test]
#[ignore = "needs packages: run `tests/clients/run`"]
fn requests_oauthlib_is_a_service() {
    Site::new()
        .laid_out()
        .play(python(), "requests_oauthlib_client.py", 2);
}

/// Sends what the crate `oauth2` made over TLS that trusts one certificate.
async fn send(site: &Site, request: HttpRequest) -> Result<HttpResponse, std::io::Error> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&site.certificate);
    roots
        .add(certificate.map_err(std::io::Error::other)?)
        .map_err(std::io::Error::other)?;
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = request.map(|body| http_body_util::Full::new(bytes::Bytes::from(body)));
    let answer = client
        .request(request)
        .await
        .map_err(std::io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = http_body_util::BodyExt::collect(body).await;
    let body = body.map_err(std::io::Error::other)?.to_bytes().to_vec();
    Ok(HttpResponse::from_parts(parts, body))
}

#[tokio::test]
async fn the_crate_oauth2_is_a_service_and_a_resource_server() {
    let site = Site::new();
    let (secret, admin) = (
        site.issue("ci", &["--scopes", "operator.write"]),
        site.issue("rs", &["--scopes", "operator.admin"]),
    );
    let url = |path: &str| format!("{}/oauth/{path}", site.api);
    let client = |name: &str, secret: &str| {
        BasicClient::new(ClientId::new(name.to_owned()))
            .set_client_secret(ClientSecret::new(secret.to_owned()))
            .set_token_uri(TokenUrl::new(url("token")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(url("introspect")).unwrap())
            .set_revocation_url(RevocationUrl::new(url("revoke")).unwrap())
    };
    let http = |request: HttpRequest| send(&site, request);
    let own = client("ci", &secret);
    let read = Scope::new("operator.read".to_owned());
    let given = own
        .exchange_client_credentials()
        .add_scope(read.clone())
        .request_async(&http)
        .await
        .unwrap();
    assert_eq!(given.scopes(), Some(&vec![read]));
    let rs = client("rs", &admin);
    let live = async || {
        let asked = rs.introspect(given.access_token());
        asked.request_async(&http).await.unwrap().active()
    };
    assert!(live().await);
    let revocation = own
        .revoke_token(given.access_token().clone().into())
        .unwrap();
    revocation.request_async(&http).await.unwrap();
    assert!(!live().await);
    let again = own.exchange_client_credentials().request_async(&http).await;
    let refused = format!("{:?}", again.unwrap_err());
    assert!(refused.contains("invalid_client"), "{refused}");
}
