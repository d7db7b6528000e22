//! An authority in memory, and gateways that decide by it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::dpop::{ReplayMemory, token_hash};
use hardtack_token::{
    AttestationKey, AuthorityId, Catalog, Caveat, Chain, Clock, DeviceId, End, Ended, Grant,
    GrantId, KeyRing, KeyState, ManualClock, NewSession, Revocations, RootKey, RootKeyId,
    SessionId, Subject, Timestamp, TokenText, Verifier,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::upstreams::Echo;
use crate::domain::policy::{Policy, Source};
use crate::gateway::names::Names;
use crate::gateway::{Gateway, GatewaySettings, Timeouts, Upstreams, serve};
use crate::web::listener::{Http, Listener};

pub(super) const NOW: Timestamp = Timestamp::from_unix(1_796_083_200);
pub(super) const GATEWAY: &str = "http://gw.example";
pub(super) const ISSUER: &str = "http://as.example";

const POLICY: &str = r#"
    route("GET", "/api/{*rest}", "operator.read");
    route("*", "/api/{*rest}", "operator.write");
    route("WEBSOCKET", "/api/{*rest}", "operator.write");
    route("GET", "/ws/{*rest}", "operator.read");
    route("HEAD", "/head/{*rest}", "operator.read");
    public("WEBSOCKET", "/assets/live");
    public("GET", "/assets/{*rest}");
    deny("*", "/api/internal/{*rest}");
"#;

/// An authority in memory, and what the gateway decides by.
pub(super) struct World {
    pub(super) root: RootKey,
    pub(super) key: AttestationKey,
    pub(super) revocations: Arc<Revocations>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) clock: Arc<ManualClock>,
    policy: Arc<ArcSwap<Policy>>,
    pub(super) rng: StdRng,
}

/// A gateway that listens. It ends with the value.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) gateway: Arc<Gateway>,
    pub(super) served: JoinHandle<()>,
    pub(super) stop: Option<oneshot::Sender<()>>,
}

/// How a test differs from an ordinary gateway.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) upstream: Option<String>,
    /// Upstreams with prefixes.
    pub(super) more: Vec<String>,
    pub(super) upstream_ca: Option<PathBuf>,
    /// What knows the addresses of upstreams, looked at this often.
    pub(super) names: Option<(Names, Duration)>,
    pub(super) trusted: Vec<&'static str>,
    pub(super) proxy_secret: Option<&'static str>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) request_head: Option<Duration>,
    pub(super) connect: Option<Duration>,
}

/// A device's key.
pub(super) struct Device(SigningKey);

impl World {
    pub(super) fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let root = RootKey::generate(RootKeyId::new(1), &mut rng);
        let key = AttestationKey::generate(&mut rng);
        let keys = KeyRing::new()
            .with_root(root.id(), root.public().unwrap(), KeyState::Active)
            .with_attestation(key.public().unwrap(), KeyState::Active);
        let revocations = Arc::new(Revocations::new(5));
        revocations.confirm(NOW);
        Self {
            root,
            key,
            verifier: Arc::new(Verifier::new(keys, Arc::clone(&revocations), 1 << 20)),
            revocations,
            clock: Arc::new(ManualClock::new(NOW)),
            policy: Arc::new(ArcSwap::from_pointee(policy(POLICY))),
            rng,
        }
    }

    /// Puts another policy in force.
    pub(super) fn set_policy(&self, text: &str) {
        self.policy.store(Arc::new(policy(text)));
    }

    /// The scopes of the policy in force.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(self.policy.load().catalog())
    }

    /// Time passes, and the revocations are read meanwhile.
    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.revocations.confirm(self.clock.now());
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.r#gen())
    }

    /// A chain of one grant.
    pub(super) fn grant(&mut self, subject: Subject, scopes: &str) -> Chain {
        let id = AuthorityId::from_uuid(self.uuid());
        let root = self
            .root
            .mint_authority(id, &"*".parse().unwrap(), &mut self.rng);
        let grant = Grant {
            id: GrantId::from_uuid(self.uuid()),
            subject,
            role: "operator".parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            not_after: None,
        };
        let chain = root.unwrap().append_grant(&grant, &self.key, &mut self.rng);
        chain.unwrap()
    }

    /// A grant that was approved with another.
    pub(super) fn grant_below(&mut self, parent: &Chain, n: u8, scopes: &str) -> Chain {
        let grant = Grant {
            id: GrantId::from_uuid(self.uuid()),
            subject: Subject::Device(Device::new(n).id()),
            role: "operator".parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            not_after: None,
        };
        let chain = parent.append_grant(&grant, &self.key, &mut self.rng);
        chain.unwrap()
    }

    pub(super) fn device_grant(&mut self, n: u8, scopes: &str) -> Chain {
        self.grant(Subject::Device(Device::new(n).id()), scopes)
    }

    pub(super) fn session(
        &mut self,
        chain: &Chain,
        audience: &str,
        caveats: Vec<Caveat>,
    ) -> String {
        let session = NewSession {
            id: SessionId::from_uuid(self.uuid()),
            audience: audience.to_owned(),
            not_after: NOW.plus(900),
            caveats,
        };
        let token = chain.append_session(&session, &self.key, &mut self.rng);
        token.unwrap().expose().to_owned()
    }

    /// A bearer token of device 1 for the gateway.
    pub(super) fn token(&mut self, scopes: &str) -> String {
        self.token_with(scopes, Vec::new())
    }

    pub(super) fn token_with(&mut self, scopes: &str, caveats: Vec<Caveat>) -> String {
        let chain = self.device_grant(1, scopes);
        self.session(&chain, GATEWAY, caveats)
    }

    pub(super) fn end(&self, chain: &Chain, end: End) {
        self.end_id(chain.profile().unwrap().leaf().id.uuid(), end);
    }

    pub(super) fn end_id(&self, id: Uuid, end: End) {
        self.revocations.add(&[Ended { id, end }]);
    }

    pub(super) async fn start(&mut self, setup: Setup) -> Running {
        let all = setup.upstream.iter().chain(&setup.more);
        let texts: Vec<String> = all.cloned().collect();
        let timeouts = Timeouts::default();
        let (names, addresses) = setup
            .names
            .unwrap_or((Names::of_system(), timeouts.addresses));
        let timeouts = Timeouts {
            response: setup.response_timeout.unwrap_or(timeouts.response),
            request_head: setup.request_head.unwrap_or(timeouts.request_head),
            connect: setup.connect.unwrap_or(timeouts.connect),
            addresses,
            ..timeouts
        };
        let ca = setup.upstream_ca.as_deref();
        let upstreams = Upstreams::with_names(&texts, ca, &timeouts, &names);
        let settings = GatewaySettings {
            origin: GATEWAY.parse().unwrap(),
            issuer: ISSUER.parse().unwrap(),
            upstreams: upstreams.unwrap(),
            trusted_proxies: setup
                .trusted
                .iter()
                .map(|net| net.parse().unwrap())
                .collect(),
            proxy_secret: setup.proxy_secret.map(|secret| secret.parse().unwrap()),
            timeouts,
        };
        let gateway = Gateway::new(
            settings,
            Arc::clone(&self.verifier),
            Arc::clone(&self.policy),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(ReplayMemory::new(1000)),
            &mut self.rng,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let gateway = Arc::new(gateway);
        Running {
            address,
            served: tokio::spawn(serve(
                Listener::new(listener, None, Http::OneAndTwo),
                Arc::clone(&gateway),
                shutdown,
            )),
            gateway,
            stop: Some(stop),
        }
    }

    /// A gateway in front of an upstream that tells what it was sent.
    pub(super) async fn start_with_echo(&mut self) -> (Running, Echo) {
        let echo = Echo::start().await;
        let setup = Setup {
            upstream: Some(echo.url.clone()),
            ..Setup::default()
        };
        (self.start(setup).await, echo)
    }
}

fn policy(text: &str) -> Policy {
    let source = Source {
        name: "test.datalog".to_owned(),
        text: text.to_owned(),
    };
    Policy::load(&[source]).unwrap()
}

impl Device {
    pub(super) fn new(n: u8) -> Self {
        Self(SigningKey::from_bytes(&[n; 32]))
    }

    pub(super) fn id(&self) -> DeviceId {
        DeviceId::of(&self.0.verifying_key())
    }

    /// A proof for a GET with `token`, made now.
    pub(super) fn proof(&self, url: &str, token: &str, jti: &str) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk});
        let claims = json!({"htm": "GET", "htu": url, "iat": NOW.unix(), "jti": jti,
            "ath": token_hash(token)});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(super) fn text(token: &str) -> TokenText {
    TokenText::new(token).unwrap()
}
