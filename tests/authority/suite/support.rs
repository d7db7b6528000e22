//! An authority with a standing clock, and short words for what callers do.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hardtack::authority::approve::{Approval, Narrowing};
use hardtack::authority::bootstrap::Bootstrap;
use hardtack::authority::caller::{Call, Credential, From};
use hardtack::authority::client::Proofs;
use hardtack::authority::end::Ending;
use hardtack::authority::entropy::Entropy;
use hardtack::authority::exchange::{Issued, SubjectToken, Wanted};
use hardtack::authority::feed::FeedPosition;
use hardtack::authority::limits::Rates;
use hardtack::authority::pairing::DeviceView;
use hardtack::authority::proof::Target;
use hardtack::authority::secrets::{SecretSource, Secrets};
use hardtack::authority::{Authority, Error, Parts, Settings};
use hardtack::domain::audit::AuditRecord;
use hardtack::domain::ids::RequestId;
use hardtack::domain::pairing::{Ask, DeviceName, Metadata};
use hardtack::domain::policy::Policy;
use hardtack::store::{DatabaseUrl, Page, Store};
use hardtack_token::{Clock, ManualClock, Request, RootToken, Timestamp, TokenText};

use crate::device::Device;

pub(crate) const START: Timestamp = Timestamp::from_unix(1_796_083_200);
pub(crate) const ISSUER: &str = "http://127.0.0.1:7420";
pub(crate) const GATEWAY: &str = "http://127.0.0.1:7421";
pub(crate) const FROM: From<'static> = From {
    address: "192.0.2.1",
    exposed: false,
};
const NEXT_SECRET: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const SECRET: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// An authority, its root token and its local device.
pub(crate) struct World {
    pub(crate) authority: Arc<Authority>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) root: TokenText,
    pub(crate) local: Paired,
    pub(crate) store: Store,
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    position: FeedPosition,
    _dir: tempfile::TempDir,
}

/// A device and its grant.
#[derive(Clone)]
pub(crate) struct Paired {
    pub(crate) device: Device,
    pub(crate) grant: TokenText,
}

/// Who approves.
pub(crate) enum Approver<'a> {
    Root,
    Device(&'a Paired),
}

/// A new database of the kind that this copy of the suite is for.
pub(crate) async fn new_store() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let url = new_database(dir.path()).await;
    (Store::open(&url).await.unwrap(), dir)
}

pub(crate) async fn new_database(dir: &std::path::Path) -> DatabaseUrl {
    if module_path!().contains("on_postgres") {
        DatabaseUrl::Postgres(crate::postgres::new_database().await)
    } else {
        DatabaseUrl::in_data_dir(dir)
    }
}

pub(crate) fn secrets() -> Secrets {
    Secrets::from_text(SECRET).unwrap()
}

/// The secret that a rotation puts in force.
pub(crate) fn next_secrets() -> Secrets {
    Secrets::from_text(NEXT_SECRET).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        let (store, dir) = new_store().await;
        let clock = Arc::new(ManualClock::new(START));
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let entropy = Entropy::seeded(7);
        let policy = Arc::new(ArcSwap::from_pointee(Policy::load(&[]).unwrap()));
        let bootstrap = Bootstrap {
            store: &store,
            secrets: &secrets(),
            clock: &shared,
            entropy: &entropy,
        };
        let announcement = bootstrap.first_boot().await.unwrap().unwrap();
        let root: RootToken = announcement.root_token.clone();
        bootstrap.shown(announcement).await.unwrap();
        let authority = Authority::open(Parts {
            store: store.clone(),
            secrets: secrets(),
            secret_source: SecretSource::new(|check| {
                let known = [SECRET, NEXT_SECRET].map(|text| Secrets::from_text(text).unwrap());
                let found = known.into_iter().find(|s| s.check() == check);
                found.ok_or_else(|| "not here".to_owned())
            }),
            settings: Settings {
                issuer: ISSUER.parse().unwrap(),
                public_urls: vec![ISSUER.parse().unwrap()],
                gateway_url: GATEWAY.parse().unwrap(),
                request_ttl: 3600,
                in_container: false,
                rates: Rates::default(),
            },
            policy: Arc::clone(&policy),
            clock: shared,
            entropy,
            token_cache: 1 << 20,
        })
        .await
        .unwrap();
        let position = FeedPosition::default();
        authority.reload_feed(&position).await.unwrap();
        let device = Device::of(secrets().local_device().clone());
        let mut this = Self {
            local: Paired {
                device: device.clone(),
                grant: root.text().clone(),
            },
            root: root.text().clone(),
            authority: Arc::new(authority),
            clock,
            store,
            policy,
            position,
            _dir: dir,
        };
        this.local.grant = this.fetch_grant(&device).await.unwrap();
        this
    }

    /// Moves the clock and lets the node read the feed, as it does twice a second.
    pub(crate) async fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.authority.poll_feed(&self.position).await.unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn ask(&self, device: &Device, scopes: &str) -> Result<DeviceView, Error> {
        self.ask_as(device, "operator", scopes, "laptop").await
    }

    pub(crate) async fn ask_as(
        &self,
        device: &Device,
        role: &str,
        scopes: &str,
        name: &str,
    ) -> Result<DeviceView, Error> {
        let target = Target {
            method: "POST",
            path: "/v1/pairing-requests",
        };
        let proof = device.proof("POST", &url(target.path), self.now(), None);
        let ask = Ask {
            role: role.parse().unwrap(),
            scopes: scopes.parse().unwrap(),
            name: DeviceName::new(name).unwrap(),
            metadata: Metadata::default(),
        };
        self.authority
            .request_pairing(Some(&proof), target, ask, FROM.address)
            .await
    }

    pub(crate) async fn approve(
        &self,
        approver: Approver<'_>,
        id: RequestId,
        narrowing: &Narrowing,
    ) -> Result<Approval, Error> {
        let path = format!("/v1/pairing-requests/{id}/approve");
        let target = Target {
            method: "POST",
            path: &path,
        };
        match approver {
            Approver::Root => {
                let call = Call {
                    target,
                    credential: Credential::Bearer(self.root.clone()),
                    proof: None,
                    from: FROM,
                };
                self.authority.approve(&call, id, narrowing).await
            }
            Approver::Device(paired) => {
                let proof = self.proof(paired, target);
                let call = paired.call(target, &proof);
                self.authority.approve(&call, id, narrowing).await
            }
        }
    }

    /// Pairs a new device by the local one.
    pub(crate) async fn pair(&self, number: u64, scopes: &str) -> Paired {
        self.pair_by(Approver::Device(&self.local), number, scopes)
            .await
    }

    pub(crate) async fn pair_by(&self, by: Approver<'_>, number: u64, scopes: &str) -> Paired {
        let device = Device::new(number);
        let asked = self.ask(&device, scopes).await.unwrap();
        let narrowing = Narrowing::default();
        self.approve(by, asked.request.id, &narrowing)
            .await
            .unwrap();
        let grant = self.fetch_grant(&device).await.unwrap();
        Paired { device, grant }
    }

    pub(crate) async fn fetch_grant(&self, device: &Device) -> Result<TokenText, Error> {
        let path = format!("/v1/devices/{}/grant", device.id());
        let target = Target {
            method: "GET",
            path: &path,
        };
        let proof = device.proof("GET", &url(&path), self.now(), None);
        let role = "operator".parse().unwrap();
        self.authority
            .fetch_grant(device.id(), &role, Some(&proof), target)
            .await
            .map(|(_, grant)| grant)
    }

    /// Exchanges a grant for a bearer token of the gateway.
    pub(crate) async fn exchange(&self, paired: &Paired, wanted: &Wanted) -> Result<Issued, Error> {
        let assertion = paired.device.assertion(ISSUER, self.now());
        let subject = SubjectToken::Grant(paired.grant.clone());
        let proofs = Proofs {
            assertion: Some(&assertion),
            ..Proofs::none(token_target())
        };
        self.authority
            .exchange(&subject, wanted, proofs, FROM)
            .await
    }

    /// Ends a device by the local one.
    pub(crate) async fn end(&self, how: &str, device: &Device) -> Result<Ending, Error> {
        self.end_by(how, &self.local, device).await
    }

    pub(crate) async fn end_by(
        &self,
        how: &str,
        by: &Paired,
        device: &Device,
    ) -> Result<Ending, Error> {
        match how {
            "revoke" => self.revoke(by, device, false).await,
            _ => self.retire(by, device).await,
        }
    }

    pub(crate) async fn revoke(
        &self,
        by: &Paired,
        device: &Device,
        dry_run: bool,
    ) -> Result<Ending, Error> {
        let path = format!("/v1/devices/{}/revoke", device.id());
        let target = Target {
            method: "POST",
            path: &path,
        };
        let proof = self.proof(by, target);
        let call = by.call(target, &proof);
        self.authority.revoke(&call, device.id(), dry_run).await
    }

    pub(crate) async fn retire(&self, by: &Paired, device: &Device) -> Result<Ending, Error> {
        let path = format!("/v1/devices/{}/retire", device.id());
        let target = Target {
            method: "POST",
            path: &path,
        };
        let proof = self.proof(by, target);
        let call = by.call(target, &proof);
        self.authority.retire(&call, device.id()).await
    }

    pub(crate) async fn audit_log(&self) -> Vec<AuditRecord> {
        let page = Page {
            after: None,
            limit: 500,
        };
        let mut tx = self.store.read().await.unwrap();
        tx.audit_log(page).await.unwrap()
    }

    pub(crate) fn proof(&self, paired: &Paired, target: Target<'_>) -> String {
        let token = paired.grant.expose();
        let (method, url) = (target.method, url(target.path));
        paired.device.proof(method, &url, self.now(), Some(token))
    }

    /// Whether the gateway's verifier lets a token through to what needs `scope`.
    pub(crate) fn decide(&self, token: &TokenText, scope: &str) -> &'static str {
        let policy = self.authority.policy();
        let catalog = policy.catalog();
        let required = catalog.require(&scope.parse().unwrap()).unwrap();
        let request = Request {
            now: self.now(),
            audience: GATEWAY,
            holder: None,
            method: Some("GET"),
            path: Some("/api/x"),
            operation: None,
        };
        let verifier = self.authority.verifier();
        let decision = verifier.authorize(token.expose(), catalog, &request, &[required]);
        decision.map_or_else(|denial| denial.code(), |_| "ok")
    }
}

impl Paired {
    pub(crate) fn call<'a>(&self, target: Target<'a>, proof: &'a str) -> Call<'a> {
        Call {
            target,
            credential: Credential::Dpop(self.grant.clone()),
            proof: Some(proof),
            from: FROM,
        }
    }
}

pub(crate) const fn token_target() -> Target<'static> {
    Target {
        method: "POST",
        path: "/oauth/token",
    }
}

pub(crate) fn url(path: &str) -> String {
    format!("{ISSUER}{path}")
}

pub(crate) fn scoped(scopes: &str) -> Narrowing {
    Narrowing {
        scopes: Some(scopes.parse().unwrap()),
        ..Narrowing::default()
    }
}

/// The code by which an error is known to callers.
pub(crate) fn code(error: &Error) -> String {
    match error {
        Error::Denied(denial) => denial.code().to_owned(),
        other => {
            let text = format!("{other:?}");
            let end = text.find([' ', '(', '{']).unwrap_or(text.len());
            text.get(..end).unwrap().to_owned()
        }
    }
}
