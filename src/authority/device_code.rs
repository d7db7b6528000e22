//! The device authorization grant (RFC 8628): the same pairing request as
//! `/v1/pairing-requests`, asked for and fetched in OAuth's words.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hardtack_token::{DeviceId, GrantId, TokenText};
use uuid::Uuid;

use crate::authority::caller::{From, LiveCaller};
use crate::authority::client::{KeyOf, Proofs, Proven, check_client_id};
use crate::authority::connection::ProvenDevice;
use crate::authority::error::{DeviceCodeError, Word};
use crate::authority::exchange::{Issued, Wanted};
use crate::authority::pairing::{DeviceView, POLL_INTERVAL};
use crate::authority::proof::ProvenKey;
use crate::authority::{Authority, Error};
use crate::domain::ids::RequestId;
use crate::domain::pairing::{Ask, RequestState};
use crate::store::Tx;

/// What a device is told when it asked.
#[derive(Debug)]
pub struct DeviceAuthorization {
    /// What it polls with.
    pub device_code: String,
    /// The request, with the code for people.
    pub view: DeviceView,
    /// How long it may poll, in seconds.
    pub expires_in: u64,
    /// How long to wait between two polls, in seconds.
    pub interval: u64,
}

/// What a device gets for a device code.
#[derive(Debug)]
pub struct Redeemed {
    /// The access token.
    pub issued: Issued,
    /// The sealed grant, which OAuth calls a refresh token.
    pub grant: TokenText,
}

impl Authority {
    /// A device asks to be paired. Its key comes with a DPoP proof, or in the
    /// header of a client assertion.
    pub async fn authorize_device(
        &self,
        ask: Ask,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<DeviceAuthorization, Error> {
        let policy = self.policy();
        let (proven, mut tx) = self
            .enter_client(&policy, proofs, None, KeyOf::Anything)
            .await?;
        let key = device_key(&proven, proofs)?;
        let proven = ProvenDevice {
            device: key.device,
            key: key.key,
        };
        let view = self
            .place_request(&mut tx, &policy, proven, ask, from.address)
            .await?;
        tx.commit().await?;
        let now = self.now();
        let left = match view.grant {
            // What was approved does not end with the request.
            Some(_) => self.settings.request_ttl,
            None => view.request.expires_at.since(now),
        };
        Ok(DeviceAuthorization {
            device_code: self.device_code(view.request.id)?,
            view,
            expires_in: left,
            interval: POLL_INTERVAL,
        })
    }

    /// A device polls for the answer. Once approved it gets its grant and an
    /// access token, again and again as long as it proves its key.
    pub async fn redeem_device_code(
        &self,
        code: &str,
        wanted: &Wanted,
        proofs: Proofs<'_>,
        from: From<'_>,
    ) -> Result<Redeemed, Error> {
        let invalid = |error: Error| error.said(Word::InvalidGrant);
        let (asked, mut tx) = self
            .enter_to_get(wanted, proofs, None, KeyOf::Anything, from)
            .await?;
        let key = device_key(&asked.proven, proofs)?;
        let grant = match self.answer_to(&mut tx, code, key.device).await {
            Ok(grant) => grant,
            Err(error @ (Error::DeviceCode(_) | Error::WrongKey)) => {
                // SECURITY: the proof is spent although there is no token yet.
                // Whoever saw this poll could else repeat it after the approval.
                tx.commit().await?;
                return Err(invalid(error));
            }
            Err(error) => return Err(error),
        };
        let live = self.own_grant(&mut tx, grant).await.map_err(invalid)?;
        let issued = self.activate(&mut tx, &asked, &live).await?;
        let grant = live.chain.seal()?;
        tx.commit().await?;
        Ok(Redeemed { issued, grant })
    }

    /// The grant that a device code stands for, once there is one.
    async fn answer_to(&self, tx: &mut Tx, code: &str, device: DeviceId) -> Result<GrantId, Error> {
        let id = self.read_device_code(code)?;
        let request = tx.request(id).await?.ok_or(DeviceCodeError::Unknown)?;
        if request.device != device {
            return Err(Error::WrongKey);
        }
        match request.state_at(self.now()) {
            RequestState::Approved(grant) => Ok(grant),
            // Only while nothing is decided: whoever polls too fast still
            // gets the answer with the first poll after it.
            RequestState::Pending if self.limits.polled_too_soon(id, self.millis()) => {
                Err(DeviceCodeError::TooSoon.into())
            }
            RequestState::Pending => Err(DeviceCodeError::Pending.into()),
            RequestState::Rejected(reason) => Err(DeviceCodeError::Rejected(reason).into()),
            RequestState::Expired | RequestState::Superseded(_) => {
                Err(DeviceCodeError::Expired.into())
            }
        }
    }

    /// A stored grant whose device's key was proven otherwise than by presenting it.
    pub(crate) async fn own_grant(&self, tx: &mut Tx, grant: GrantId) -> Result<LiveCaller, Error> {
        let stored = tx.grant(grant).await?.ok_or(Error::UnknownGrant)?;
        self.check_live(&stored)?;
        let chain = self.open_chain(&stored)?;
        Ok(LiveCaller {
            profile: chain.profile()?,
            record: stored.record,
            chain,
        })
    }

    /// The device code of a request: its id and a MAC. Nothing is stored for it,
    /// and the id that stands in lists and logs is not enough to make it.
    fn device_code(&self, id: RequestId) -> Result<String, Error> {
        let mac = self.secrets().device_code_mac(id.uuid())?;
        let bytes = [id.uuid().as_bytes().as_slice(), &mac].concat();
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn read_device_code(&self, code: &str) -> Result<RequestId, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(code).unwrap_or_default();
        let Some((id, mac)) = bytes.split_first_chunk::<16>() else {
            return Err(DeviceCodeError::Unknown.into());
        };
        let id = Uuid::from_bytes(*id);
        match self.secrets().check_device_code(id, mac) {
            Ok(()) => Ok(RequestId::from_uuid(id)),
            // Also after a rotation of the secret: the device asks again.
            Err(_) => Err(DeviceCodeError::Unknown.into()),
        }
    }
}

fn device_key<'a>(proven: &'a Proven, proofs: Proofs<'_>) -> Result<&'a ProvenKey, Error> {
    let key = proven.key().ok_or(Error::KeyRequired)?;
    check_client_id(proofs, key.device)?;
    Ok(key)
}
