//! One client that is let in: who it is, what it may, and when that is over.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use hardtack_token::{Access, ChainProfile, Denial, DeviceId, Role, Scope, ScopeSet, Timestamp};
use tokio::sync::{Notify, mpsc};

use crate::authority::Authority;
use crate::authority::caller::{Call, Credential, From};
use crate::authority::connection::{OnConnection, Party, Standing};
use crate::authority::proof::Target;
use crate::domain::grant::GrantRecord;
use crate::openclaw::admission::Admitted;
use crate::openclaw::errors::{Close, ErrorShape};
use crate::openclaw::reasons::{denied, listed};
use crate::openclaw::upgrade::Visitor;

/// How many messages of our own may wait for a client.
const WAITING: usize = 32;

/// The prefix of the scopes that the upstream knows.
const OPERATOR_SCOPES: &str = "operator.";

/// A client that is let in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) party: Party,
    pub(super) record: GrantRecord,
    pub(super) visitor: Visitor,
    /// The scopes that it asked for; with none it has all of its grant.
    pub(super) asked: ScopeSet,
    /// Renewed while the grant is live.
    standing: ArcSwap<Standing>,
    ended: OnceLock<End>,
    woken: Notify,
    /// To its socket: answers and events of our own.
    pub(super) to_client: mpsc::Sender<String>,
    authority: Arc<Authority>,
}

/// Why a session ended though its client is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// What it was let in by is over.
    Denied(Denial),
    /// It would be let in with other scopes now.
    OtherScopes,
}

impl Session {
    pub(super) fn new(
        id: u64,
        admitted: Admitted,
        visitor: Visitor,
        authority: Arc<Authority>,
    ) -> (Self, mpsc::Receiver<String>) {
        let (to_client, waiting) = mpsc::channel(WAITING);
        let this = Self {
            id,
            party: admitted.party,
            record: admitted.record,
            visitor,
            asked: admitted.asked,
            standing: ArcSwap::from_pointee(admitted.standing),
            ended: OnceLock::new(),
            woken: Notify::new(),
            to_client,
            authority,
        };
        (this, waiting)
    }

    pub(super) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.standing.load().access)
    }

    /// The device on it, if it is one.
    pub(super) fn device(&self) -> Option<DeviceId> {
        match &self.party {
            Party::Device { device, .. } => Some(*device),
            Party::Token(_) => None,
        }
    }

    pub(super) fn role(&self) -> &Role {
        &self.record.role
    }

    /// Whether the client may call a method that the upstream answers.
    pub(super) fn check(&self, method: &str) -> Result<(), ErrorShape> {
        let Standing { access, policy } = &**self.standing.load();
        let Some((scope, requirement)) = policy.rpc(method) else {
            return Err(not_in_policy(method));
        };
        let request = self.authority.frame(method, self.device());
        match Arc::clone(access)
            .authenticate(&request)
            .and_then(|access| access.authorize(&request, &[requirement]))
        {
            Ok(_permit) => Ok(()),
            Err(Denial::InsufficientScope { .. }) => Err(missing(method, scope, &access.scopes())),
            Err(denial) => Err(denied(&denial)),
        }
    }

    /// Whether the client may call a method that is answered here: by all that
    /// its grant gives, whatever of it this connection asked for.
    pub(super) fn check_own(&self, method: &str) -> Result<(), ErrorShape> {
        let Party::Device { .. } = &self.party else {
            return self.check(method);
        };
        let Standing { access, policy } = &**self.standing.load();
        let Some((scope, requirement)) = policy.rpc(method) else {
            return Err(not_in_policy(method));
        };
        let grant = of_grant(access);
        let gives = grant.effective(policy.catalog());
        if policy.catalog().meets(&gives, requirement) {
            Ok(())
        } else {
            let held = grant.scopes_in(policy.catalog());
            Err(missing(method, scope, &held))
        }
    }

    /// Whether its grant gives what giving a role takes.
    pub(super) fn may_give(&self, role: &Role) -> bool {
        let Standing { access, policy } = &**self.standing.load();
        let catalog = policy.catalog();
        match policy.role(role) {
            None => false,
            Some(None) => true,
            Some(Some(scope)) => {
                let gives = of_grant(access).effective(catalog);
                catalog
                    .require(scope)
                    .is_some_and(|needed| catalog.meets(&gives, needed))
            }
        }
    }

    /// The same for a method about a device: about itself it may.
    pub(super) fn check_for(&self, method: &str, device: DeviceId) -> Result<(), ErrorShape> {
        if self.device() == Some(device) {
            return Ok(());
        }
        self.check_own(method)
    }

    /// What is passed on to the upstream as scopes: every one by its name, with
    /// what it implies, since the upstream intersects them without implications.
    pub(super) fn upstream_scopes(&self) -> Vec<String> {
        leaves(&self.access())
    }

    /// A call of the authority for a method of this client.
    pub(super) fn call<'a>(&self, method: &str, address: &'a str) -> Call<'a> {
        Call {
            target: Target {
                method: "",
                path: "",
            },
            credential: Credential::Connection(OnConnection {
                party: self.party.clone(),
                operation: method.to_owned(),
            }),
            proof: None,
            from: From {
                address,
                exposed: false,
            },
        }
    }

    /// Takes a renewed session, unless it gives something else.
    pub(super) fn renewed(&self, standing: Standing) {
        if leaves(&standing.access) == self.upstream_scopes() {
            self.standing.store(Arc::new(standing));
        } else {
            self.end(End::OtherScopes);
        }
    }

    /// Ends it, if it has not ended.
    pub(super) fn end(&self, end: End) {
        if self.ended.set(end).is_ok() {
            self.woken.notify_waiters();
        }
    }

    /// Waits for its end.
    pub(super) async fn end_of(&self) -> &End {
        loop {
            let mut woken = std::pin::pin!(self.woken.notified());
            // INVARIANT: asked after it waits, for `end` wakes those who wait.
            woken.as_mut().enable();
            if let Some(end) = self.ended.get() {
                return end;
            }
            woken.await;
        }
    }

    /// Whether what it was let in by is over.
    pub(super) fn look(&self, now: Timestamp) {
        if let Err(denial) = self.authority.verifier().still_live(&self.access(), now) {
            self.end(End::Denied(denial));
        }
    }

    /// How its socket is closed, in words that say what happened.
    pub(super) async fn close(&self, end: &End) -> Close {
        let denial = match end {
            End::OtherScopes => return Close::restart("scopes changed: connect again"),
            End::Denied(denial) => denial,
        };
        match denial {
            Denial::Revoked => Close::ended("device revoked"),
            Denial::Retired if self.is_replaced().await => {
                Close::ended("device token replaced: connect again")
            }
            Denial::Retired => Close::ended("device retired"),
            Denial::Expired(_) => Close::ended("device token expired"),
            Denial::UnknownKey(_) => Close::ended("keys rotated: connect again"),
            Denial::RevocationsStale { .. } => Close::new(1013, "revocations are not known now"),
            other => Close::ended(other.code()),
        }
    }

    async fn is_replaced(&self) -> bool {
        let Some(device) = self.device() else {
            return false;
        };
        let paired = self.authority.is_paired(device, self.role()).await;
        paired.unwrap_or(false)
    }
}

/// The grant behind a session: all that it gives, whatever this session has of it.
fn of_grant(access: &Access) -> ChainProfile {
    let mut grant = access.chain().clone();
    grant.session = None;
    grant
}

pub(super) fn leaves(access: &Access) -> Vec<String> {
    let scopes = access.effective_scopes();
    let known = scopes.iter().map(Scope::as_str);
    known
        .filter(|scope| scope.starts_with(OPERATOR_SCOPES))
        .map(str::to_owned)
        .collect()
}

fn missing(method: &str, scope: &Scope, held: &ScopeSet) -> ErrorShape {
    let held = held.to_strings();
    let message = format!("missing scope: {scope} (held: {})", listed(&held));
    ErrorShape::new("FORBIDDEN", message)
        .with("code", "MISSING_SCOPE")
        .with("method", method)
        .with("missingScope", scope.as_str())
        .with("requiredScopes", vec![scope.as_str()])
        .with("heldScopes", held)
}

fn not_in_policy(method: &str) -> ErrorShape {
    let fact = format!("rpc(\"{method}\", \"<scope>\");");
    let message = format!("no policy allows `{method}`: add `{fact}` to a --policy file");
    ErrorShape::new("FORBIDDEN", message)
        .with("code", "NOT_IN_POLICY")
        .with("method", method)
        .with("next", vec![fact])
}
