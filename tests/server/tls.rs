//! Encrypted listeners, with certificates of openssl's and requests of curl's.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::support::upstream::Upstream;
use crate::support::{Machine, Run, Server, eventually};

/// A certificate for a name, in `NAME.pem` and `NAME.key`.
fn certificate(machine: &Machine, file: &str, name: &str) {
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            "/CN=hardtack",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName={name}")])
        .arg("-out")
        .arg(machine.path(&format!("{file}.pem")))
        .arg("-keyout")
        .arg(machine.path(&format!("{file}.key")));
    Run::of(openssl).ok();
}

const FLAGS: [&str; 4] = ["--tls-cert", "now.pem", "--tls-key", "now.key"];

/// What curl says of a URL, trusting a certificate alone.
fn curl(machine: &Machine, trusted: &str, url: &str, more: &[&str]) -> Run {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
        .arg(machine.path(&format!("{trusted}.pem")))
        .args(more)
        .arg(url);
    Run::of(curl)
}

/// A server with the certificate `now` for 127.0.0.1.
fn encrypted(machine: &Machine, more: &[&str]) -> Server {
    certificate(machine, "now", "IP:127.0.0.1");
    Server::start(machine, &[&FLAGS, more].concat())
}

#[test]
fn everything_works_over_encrypted_listeners() {
    let host = Machine::new();
    let upstream = Upstream::start();
    let server = encrypted(&host, &["--upstream", &upstream.url]);
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );
    host.run(&["healthcheck"]).ok();
    let device = Machine::new();
    let ask = ["pair", "--url", &server.url, "--no-wait", "--json"];
    // Nobody vouches for the certificate there.
    assert_eq!(device.run(&ask).outcome(), "5 unreachable");
    let trust = host.path("now.pem");
    let trust = [("SSL_CERT_FILE", trust.to_str().unwrap())];
    let asked = device
        .run_with(&trust, &[&ask[..], &["--scopes", "operator.read"]].concat())
        .json();
    let code = asked["user_code"].as_str().unwrap();
    host.run(&["devices", "approve", code]).ok();
    device.run_with(&trust, &["pair", "--no-wait"]).ok();
    let token = device.run_with(&trust, &["token", "exchange"]);
    let bearer = format!("Authorization: Bearer {}", token.ok().trim());
    let url = format!("{}/api/x", server.gateway);
    curl(&host, "now", &url, &["--header", &bearer]).ok();
    assert_eq!(upstream.requests(), ["GET /api/x HTTP/1.1"]);
    let answer = curl(
        &host,
        "now",
        &format!("{}/readyz", server.url),
        &["--tlsv1.3"],
    );
    assert_eq!(answer.json()["status"], "ok");
    // Who speaks plain HTTP gets no answer, and does no harm.
    let plain = server.url.replacen("https", "http", 1);
    assert_ne!(curl(&host, "now", &plain, &[]).code, 0);
    assert_eq!(server.stop().code, 0);
}

#[test]
fn openclaws_clients_come_over_tls_too() {
    let host = Machine::new();
    let door = ["--openclaw-listen", "127.0.0.1:0"];
    let upstream = ["--openclaw-upstream", "ws://127.0.0.1:9"];
    let _server = encrypted(&host, &[door, upstream].concat());
    let file = fs::read_to_string(host.data_dir().join("server.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let url = file["openclaw_url"].as_str().unwrap();
    let https = url.replacen("wss://", "https://", 1);
    assert_ne!(url, https);
    // What is no WebSocket is told so, to who speaks TLS.
    let said = curl(&host, "now", &https, &["--include"]);
    assert!(said.ok().starts_with("HTTP/1.1 426 "), "{said:?}");
    let plain = https.replacen("https", "http", 1);
    assert_ne!(curl(&host, "now", &plain, &[]).code, 0);
}

#[test]
fn which_http_is_spoken_is_agreed_on_in_the_handshake() {
    let host = Machine::new();
    let upstream = Upstream::start();
    let server = encrypted(&host, &["--upstream", &upstream.url]);
    let spoken = |url: &str, how: &str| {
        let shown = [
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version} %{http_code}",
        ];
        let said = curl(&host, "now", url, &[&shown[..], &[how]].concat());
        said.ok().trim().to_owned()
    };
    for (url, code) in [
        (format!("{}/healthz", server.url), 200),
        (format!("{}/v1/whoami", server.url), 401),
        (
            format!("{}/.well-known/oauth-protected-resource", server.gateway),
            200,
        ),
        (format!("{}/api/x", server.gateway), 401),
    ] {
        assert_eq!(spoken(&url, "--http2"), format!("2 {code}"), "{url}");
        assert_eq!(spoken(&url, "--http1.1"), format!("1.1 {code}"), "{url}");
        assert_eq!(
            spoken(&url, "--http2-prior-knowledge"),
            format!("2 {code}"),
            "{url}"
        );
    }
    drop(server);
    // Without TLS it is known beforehand, or not spoken.
    let plain = Machine::new();
    let server = Server::start(&plain, &[]);
    for url in [&server.url, &server.gateway] {
        let url = format!("{url}/healthz");
        let code = if url.starts_with(&server.url) {
            200
        } else {
            401
        };
        let known = spoken(&url, "--http2-prior-knowledge");
        assert_eq!(known, format!("2 {code}"));
        assert_eq!(spoken(&url, "--http2"), format!("1.1 {code}"));
    }
}

#[test]
fn this_machine_knows_its_server_by_its_certificate_whatever_its_name() {
    let host = Machine::new();
    certificate(&host, "now", "DNS:auth.example");
    let server = Server::start(&host, &FLAGS);
    host.run(&["devices", "list"]).ok();
    // Another certificate at this address is another server.
    certificate(&host, "other", "IP:127.0.0.1");
    let mut known: Value = serde_json::from_str(
        &std::fs::read_to_string(host.data_dir().join("server.json")).unwrap(),
    )
    .unwrap();
    known["certificate"] = host.path("other.pem").to_str().unwrap().into();
    std::fs::write(host.data_dir().join("server.json"), known.to_string()).unwrap();
    let refused = host.run(&["devices", "list", "--json"]);
    assert_eq!(refused.outcome(), "5 unreachable");
    drop(server);
}

#[test]
fn a_renewed_certificate_is_in_force_without_a_restart_and_a_wrong_one_never() {
    let host = Machine::new();
    let server = encrypted(&host, &[]);
    let url = format!("{}/healthz", server.gateway);
    let answers = |trusted| curl(&host, trusted, &url, &[]).code == 0;
    assert!(answers("now"));
    certificate(&host, "next", "IP:127.0.0.1");
    for kind in ["pem", "key"] {
        let path = |name: &str| host.path(&format!("{name}.{kind}"));
        std::fs::copy(path("next"), path("now")).unwrap();
    }
    eventually("the next certificate is in force", || {
        answers("next").then_some(())
    });
    certificate(&host, "third", "IP:127.0.0.1");
    std::fs::copy(host.path("third.pem"), host.path("now.pem")).unwrap();
    eventually("the mistake is in the log", || {
        server.stderr().contains("do not make a pair").then_some(())
    });
    assert!(answers("next"));
}

#[test]
fn who_does_not_speak_holds_up_nobody() {
    let host = Machine::new();
    let server = encrypted(&host, &[]);
    let address = |url: &str| url.trim_start_matches("https://").to_owned();
    let silent: Vec<TcpStream> = (0..200)
        .map(|n| {
            let url = if n % 2 == 0 {
                &server.url
            } else {
                &server.gateway
            };
            let mut stream = TcpStream::connect(address(url)).unwrap();
            if n % 4 < 2 {
                // The beginning of a handshake.
                stream.write_all(&[0x16, 0x03, 0x01, 0x02]).unwrap();
            }
            stream
        })
        .collect();
    for url in [&server.url, &server.gateway] {
        curl(&host, "now", &format!("{url}/healthz"), &[]).ok();
    }
    drop(silent);
}

#[test]
fn a_certificate_that_cannot_be_used_makes_no_install() {
    let host = Machine::new();
    certificate(&host, "now", "IP:127.0.0.1");
    certificate(&host, "other", "IP:127.0.0.1");
    host.file("empty.pem", "");
    for (args, why) in [
        (
            ["--tls-cert", "now.pem", "--tls-key", "other.key"].as_slice(),
            "do not make a pair",
        ),
        (
            &["--tls-cert", "empty.pem", "--tls-key", "now.key"],
            "no certificate",
        ),
        (
            &["--tls-cert", "now.pem", "--tls-key", "now.pem"],
            "now.pem",
        ),
        (
            &["--tls-cert", "gone.pem", "--tls-key", "now.key"],
            "gone.pem",
        ),
        (&["--tls-cert", "now.pem"], "--tls-key"),
    ] {
        let ended = Server::fail(&host, args);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    assert!(!host.data_dir().join("hardtack.db").exists());
}
