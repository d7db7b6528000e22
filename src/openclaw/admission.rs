//! Who may come in: a device that proves its key, or a client with an access
//! token.
//!
//! A paired device that proves its key is in, whatever else it sends: a token
//! that went stale, or somebody else's wrong guesses, do not keep it out.

use hardtack_token::{ScopeSet, TokenText};

use crate::authority::connection::{Admission, Party, ProvenDevice, Standing};
use crate::authority::error::{Error, InviteError};
use crate::authority::redeem::Handed;
use crate::domain::grant::GrantRecord;
use crate::openclaw::OpenClaw;
use crate::openclaw::connect::{Auth, ConnectParams};
use crate::openclaw::errors::{ErrorShape, Refusal};
use crate::openclaw::proof::{self, BadProof, Expected};
use crate::openclaw::upgrade::Visitor;

/// The role that nothing but a device may have.
pub(super) const NODE: &str = "node";

/// A client that may come in.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) party: Party,
    /// The row of the grant behind it.
    pub(super) record: GrantRecord,
    /// What it is decided by.
    pub(super) standing: Standing,
    /// The scopes that it asked for; with none it has all of its grant.
    pub(super) asked: ScopeSet,
    /// What it is given besides, once.
    pub(super) given: Given,
}

/// What a device gets to keep.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Its sealed grant.
    pub(super) grant: Option<TokenText>,
    /// What a setup code gave it just now, or gave it before.
    pub(super) brought: Vec<Handed>,
}

impl OpenClaw {
    pub(super) async fn admit(
        &self,
        params: &ConnectParams,
        nonce: &str,
        visitor: &Visitor,
    ) -> Result<Admitted, Refusal> {
        let Some(device) = &params.device else {
            return self.admit_token(params, visitor).await;
        };
        let expected = Expected {
            nonce,
            now: self.authority.millis(),
            skew: u64::try_from(self.settings.skew.as_millis()).unwrap_or(u64::MAX),
        };
        match proof::check(params, device, expected) {
            Ok(proven) => self.admit_device(params, proven, visitor).await,
            Err(bad) => {
                self.check_lockout(visitor)?;
                if bad == BadProof::Signature {
                    self.lockouts.failed(visitor.address, self.authority.now());
                }
                Err(bad.refusal())
            }
        }
    }

    async fn admit_device(
        &self,
        params: &ConnectParams,
        proven: ProvenDevice,
        visitor: &Visitor,
    ) -> Result<Admitted, Refusal> {
        let ask = params.ask(visitor.origin.as_deref())?;
        let (role, asked) = (ask.role.clone(), ask.scopes.clone());
        let codes = params.bootstrap_token();
        let brought = match (self.check_lockout(visitor), codes) {
            (Err(locked), _) => Err((locked, false)),
            (Ok(()), None) => Ok(Vec::new()),
            (Ok(()), Some(codes)) => {
                let brought = self.bring(codes, proven, &ask, visitor).await;
                brought.map_err(|error| {
                    let is_guess = matches!(error, Error::Invite(InviteError::Unknown));
                    (self.setup_refusal(&error), is_guess)
                })
            }
        };
        let brought = match brought {
            Ok(brought) => brought,
            Err((refusal, is_guess)) => {
                // Whoever is paired came to prove its key, and did.
                let paired = self.authority.is_paired(proven.device, &role).await;
                if !paired.map_err(|error| self.refusal(&error))? {
                    if is_guess {
                        self.lockouts.failed(visitor.address, self.authority.now());
                    }
                    return Err(refusal);
                }
                Vec::new()
            }
        };
        let address = visitor.address.to_string();
        let admission = self.authority.open_connection(proven, ask, &address).await;
        match admission.map_err(|error| self.refusal(&error))? {
            Admission::Pairing(needed) => Err(self.pairing_required(&needed)),
            Admission::Open(opened) => Ok(Admitted {
                party: Party::Device {
                    device: proven.device,
                    grant: opened.record.id,
                },
                record: opened.record,
                standing: opened.standing,
                asked,
                given: Given {
                    grant: Some(opened.grant),
                    brought,
                },
            }),
        }
    }

    /// A client without a key.
    async fn admit_token(
        &self,
        params: &ConnectParams,
        visitor: &Visitor,
    ) -> Result<Admitted, Refusal> {
        if params.role()?.as_str() == NODE {
            return Err(identity_required());
        }
        let none = Auth::default();
        let auth = params.auth.as_ref().unwrap_or(&none);
        let Some(text) = auth.token.as_ref().or(auth.device_token.as_ref()) else {
            return Err(if auth.password.is_some() {
                no_password()
            } else {
                identity_required()
            });
        };
        self.check_lockout(visitor)?;
        let opened = match TokenText::new(text.as_str()) {
            Ok(token) => {
                let opened = self.authority.open_token_connection(&token).await;
                opened.map(|opened| (token, opened))
            }
            Err(denial) => Err(denial.into()),
        };
        match opened {
            Ok((token, (standing, record))) => Ok(Admitted {
                party: Party::Token(token),
                record,
                standing,
                // It has what its token gives, whatever it asks for.
                asked: ScopeSet::new(),
                given: Given::default(),
            }),
            Err(error) => {
                let refusal = self.token_refusal(&error);
                if refusal.error.code != "UNAVAILABLE" {
                    self.lockouts.failed(visitor.address, self.authority.now());
                }
                Err(refusal)
            }
        }
    }

    fn check_lockout(&self, visitor: &Visitor) -> Result<(), Refusal> {
        let now = self.authority.now();
        let Some(seconds) = self.lockouts.left(visitor.address, now) else {
            return Ok(());
        };
        Err(locked_out(seconds))
    }
}

/// What is told to an address that guessed wrong too often.
pub(super) fn locked_out(seconds: u64) -> Refusal {
    let message = "unauthorized: too many failed authentication attempts (retry later)";
    let mut error = ErrorShape::invalid(message)
        .with("code", "AUTH_RATE_LIMITED")
        .with("authReason", "rate_limited")
        .with("recommendedNextStep", "wait_then_retry");
    error.retry_after = Some(seconds.saturating_mul(1000));
    Refusal::said(error)
}

fn identity_required() -> Refusal {
    let error = ErrorShape::new("NOT_PAIRED", "device identity required");
    Refusal::said(error.with("code", "DEVICE_IDENTITY_REQUIRED"))
}

fn no_password() -> Refusal {
    let message = "unauthorized: gateway password not configured: pair a device, or send a token of hardtack's";
    let error = ErrorShape::invalid(message)
        .with("code", "AUTH_PASSWORD_NOT_CONFIGURED")
        .with("authReason", "password_missing_config")
        .with("canRetryWithDeviceToken", false)
        .with("recommendedNextStep", "update_auth_configuration");
    Refusal::said(error)
}
