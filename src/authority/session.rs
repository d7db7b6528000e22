//! Sessions: the block that an exchange puts on a stored chain.

use hardtack_token::{Caveat, NewSession, SessionId, Timestamp};
use serde_json::json;

use crate::authority::caller::{EXPOSED, LiveCaller, actor_of};
use crate::authority::exchange::{Asked, Issued, check_scopes};
use crate::authority::{Authority, Error};
use crate::store::{SessionRecord, Tx};

impl Authority {
    /// The session that was asked for: one audience, one end, and what narrows it.
    pub(crate) fn new_session(
        &self,
        asked: &Asked<'_>,
        grant_end: Option<Timestamp>,
    ) -> Result<NewSession, Error> {
        let audience = self.audience(&asked.wanted.audiences)?;
        let audience = audience.unwrap_or_else(|| self.settings.gateway_url.clone());
        let end = self.now().plus(asked.seconds);
        let mut rng = self.entropy.rng();
        let mut caveats = Vec::new();
        caveats.extend(asked.wanted.scopes.clone().map(Caveat::Scopes));
        caveats.extend(asked.proven.holder().map(Caveat::Holder));
        Ok(NewSession {
            id: SessionId::from_uuid(self.new_uuid(&mut rng)),
            audience: audience.to_string(),
            not_after: grant_end.map_or(end, |grant| grant.min(end)),
            caveats,
        })
    }

    /// Attests the session, writes its row and its audit row.
    pub(crate) async fn issue_session(
        &self,
        tx: &mut Tx,
        asked: &Asked<'_>,
        live: &LiveCaller,
        session: NewSession,
    ) -> Result<Issued, Error> {
        let catalog = asked.policy.catalog();
        let gives = live.profile.effective(catalog);
        check_scopes(asked.wanted, |s| {
            catalog.require(s).is_some_and(|r| catalog.meets(&gives, r))
        })?;
        let now = self.now();
        let keys = self.keys();
        let mut rng = self.entropy.rng();
        let token = live
            .chain
            .append_session(&session, &keys.attestation, &mut rng)?;
        // What does not verify here would not verify at a gateway: say so now,
        // and deny while the revocations are not known.
        self.verifier.verify_once(&token, catalog, now)?;
        tx.insert_session(&SessionRecord {
            id: session.id,
            grant: live.record.id,
            audience: session.audience.clone(),
            revoked: false,
            created_at: now,
            expires_at: session.not_after,
        })
        .await?;
        let named = asked.wanted.scopes.clone();
        let scopes = named.unwrap_or_else(|| live.profile.scopes_in(catalog));
        let exposed = asked.from.exposed && live.record.device().is_none();
        let warning = exposed.then_some(EXPOSED);
        let detail = json!({
            "grant_id": live.record.id.to_string(),
            "audience": session.audience,
            "scopes": scopes.to_strings(),
            "bound": asked.proven.bind,
            "expires_at": session.not_after.to_string(),
            "root_token_exposed": warning.is_some(),
        });
        self.audit(
            tx,
            actor_of(&live.record),
            "token.exchange",
            session.id,
            asked.from.address,
            detail,
        )
        .await?;
        Ok(Issued {
            token,
            bound: asked.proven.bind,
            expires_in: session.not_after.since(now),
            scopes,
            warning,
        })
    }
}
