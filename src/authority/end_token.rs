//! Ending what a token stands for (RFC 7009): a session, a service's grant, a
//! device's grant.

use hardtack_token::{ChainProfile, DeviceId, End, Profile, Session, TokenText, Untrusted};
use serde_json::json;

use crate::authority::caller::{From, actor_of};
use crate::authority::client::{KeyOf, Proofs, Proven};
use crate::authority::error::Word;
use crate::authority::{Authority, Error};
use crate::domain::grant::{GrantRecord, GrantStatus, Holder};
use crate::store::{LiveGrant, Tx};

impl Authority {
    /// Ends what a token stands for. What is no token of ours, what ended
    /// already and the root token are nothing to end, and no error.
    pub async fn revoke_token(
        &self,
        token: &str,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<(), Error> {
        let policy = self.policy();
        let token = TokenText::new(token).ok();
        let (proven, mut tx) = self
            .enter_client(&policy, proofs, token.as_ref(), KeyOf::Anything)
            .await?;
        let mut ended = Vec::new();
        if let Some((token, claims)) = token.and_then(|token| self.genuine(token)) {
            let end = match &claims.session {
                Some(session) => {
                    self.to_end_by_token(&mut tx, &claims, session, &proven, proofs)
                        .await?
                }
                None => {
                    self.to_end_by_grant(&mut tx, &token, &claims, &proven)
                        .await?
                }
            };
            if let Some(end) = end {
                self.carry_out(&mut tx, end, from, &mut ended).await?;
            }
        }
        self.commit(tx, &ended).await
    }

    /// What a token says whose signatures fit; its time and its rows may be over.
    fn genuine(&self, token: TokenText) -> Option<(TokenText, Box<ChainProfile>)> {
        let keys = self.verifier.keys();
        let read = Untrusted::read(&token, &keys).ok()?;
        let verified = read.verify(&keys).ok()?;
        match verified.profile() {
            Profile::Chain(claims) => Some((token, claims.clone())),
            Profile::Root(_) => None,
        }
    }

    /// An access token ends its session, a service token itself. To have it is
    /// enough; who says who it is must be the one it was given to.
    async fn to_end_by_token(
        &self,
        tx: &mut Tx,
        claims: &ChainProfile,
        session: &Session,
        proven: &Proven,
        proofs: Proofs<'_>,
    ) -> Result<Option<ToEnd>, Error> {
        let leaf = claims.leaf().id;
        if session.grant != leaf {
            return Ok(None);
        }
        let (Some(row), Some(grant)) = (tx.session(session.id).await?, tx.grant(leaf).await?)
        else {
            return Ok(None);
        };
        let secret = proven.service.as_ref().map(|s| s.access.grant_id());
        let device = proven.device().filter(|_| proofs.assertion.is_some());
        let of_another = secret.is_some_and(|own| own != leaf)
            || device.is_some_and(|own| grant.record.device() != Some(own));
        if of_another {
            return Err(Error::WrongClient);
        }
        if grant.record.is_service_token() {
            // SECURITY: a service gives narrowed copies away, for minutes. Who
            // has one must not be able to end the service token itself.
            if !claims.holder.is_empty() && secret.is_none() {
                return Err(Error::ServiceTokenRequired);
            }
            return Ok(live_grant(grant));
        }
        let dead = grant.record.status != GrantStatus::Active;
        let over = dead || row.revoked || row.grant != leaf || self.now() >= row.expires_at;
        Ok((!over).then_some(ToEnd::Session(session.clone(), grant.record)))
    }

    /// A grant ends itself, and what was approved with it, for its device alone.
    async fn to_end_by_grant(
        &self,
        tx: &mut Tx,
        token: &TokenText,
        claims: &ChainProfile,
        proven: &Proven,
    ) -> Result<Option<ToEnd>, Error> {
        let device: DeviceId = proven.device().ok_or(Error::KeyRequired)?;
        let Some(grant) = tx.grant(claims.leaf().id).await? else {
            return Ok(None);
        };
        if !self.open_chain(&grant)?.same_blocks(token) {
            return Ok(None);
        }
        if grant.record.device() != Some(device) {
            return Err(Error::WrongKey.said(Word::InvalidClient));
        }
        Ok(live_grant(grant))
    }

    async fn carry_out(
        &self,
        tx: &mut Tx,
        end: ToEnd,
        from: From<'_>,
        ended: &mut Vec<hardtack_token::Ended>,
    ) -> Result<(), Error> {
        let (id, action, record) = match end {
            ToEnd::Session(session, record) => {
                tx.revoke_session(session.id).await?;
                (session.id.uuid(), "session.revoke", record)
            }
            ToEnd::Grant(record) => {
                tx.revoke_grant(record.id).await?;
                let action = match record.holder {
                    Holder::Device(_) => "grant.revoke",
                    Holder::Service(_) => "service.revoke",
                };
                (record.id.uuid(), action, record)
            }
        };
        self.end(tx, id, End::Revoked, ended).await?;
        let detail = json!({"grant_id": record.id.to_string(), "by": "its token"});
        self.audit(tx, actor_of(&record), action, id, from.address, detail)
            .await
    }
}

/// What is live and is to end.
enum ToEnd {
    Session(Session, GrantRecord),
    Grant(GrantRecord),
}

fn live_grant(grant: LiveGrant) -> Option<ToEnd> {
    let live = grant.record.status != GrantStatus::Revoked;
    live.then_some(ToEnd::Grant(grant.record))
}
