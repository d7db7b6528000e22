//! Tokens as somebody makes them who has more than a caller has: the secrets of
//! an install, and any Biscuit library.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::format::schema;
use biscuit_auth::{Algorithm, KeyPair, PrivateKey, UnverifiedBiscuit};
use hardtack_token::{
    AttestationKey, Caveat, Chain, GrantId, NewSession, SessionId, TokenText, attenuate,
};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::disk::block_on;
use super::people::{Install, Paired, now};

/// The secrets of an install, and a source of randomness that is the same in every run.
pub(crate) struct Forge {
    pub(crate) key: AttestationKey,
    rng: StdRng,
}

impl Forge {
    /// With the attestation key of an install.
    pub(crate) fn of(install: &Install) -> Self {
        let rows = block_on(async {
            let mut tx = install.host.store().await.read().await.unwrap();
            tx.attestation_keys().await.unwrap()
        });
        let row = rows.last().unwrap();
        let key = install
            .secrets()
            .unwrap_attestation(&row.public_key, &row.wrapped)
            .unwrap();
        Self {
            key: AttestationKey::from_secret(key.as_slice().try_into().unwrap()).unwrap(),
            rng: StdRng::seed_from_u64(1),
        }
    }

    /// The same hands with a key of their own.
    pub(crate) fn with_own_key(mut self) -> Self {
        self.key = AttestationKey::generate(&mut self.rng);
        self
    }

    /// Appends a session to an open chain.
    pub(crate) fn session(&mut self, chain: &Chain, audience: &str) -> String {
        let session = NewSession {
            id: SessionId::from_uuid(Uuid::from_u128(self.rng.r#gen())),
            audience: audience.to_owned(),
            not_after: now().plus(600),
            caveats: Vec::new(),
        };
        let token = chain.append_session(&session, &self.key, &mut self.rng);
        token.unwrap().expose().to_owned()
    }

    /// Attests any block on any open token.
    pub(crate) fn attest(&mut self, open: &[u8], code: &str) -> String {
        let private = PrivateKey::from_bytes(&self.key.secret(), Algorithm::Ed25519).unwrap();
        let open = UnverifiedBiscuit::from(open).unwrap();
        let block = BlockBuilder::new().code(code).unwrap();
        let request = open.third_party_request().unwrap();
        let block = request.create_block(&private, block).unwrap();
        let next = self.next();
        let longer = open.append_third_party_with_keypair(&block.serialize().unwrap(), next);
        longer.unwrap().to_base64().unwrap()
    }

    /// Appends a block without any attestation, as a holder does.
    pub(crate) fn hold(&mut self, open: &[u8], code: &str) -> String {
        let block = BlockBuilder::new().code(code).unwrap();
        let open = UnverifiedBiscuit::from(open).unwrap();
        let longer = open.append_with_keypair(&self.next(), block).unwrap();
        longer.to_base64().unwrap()
    }

    fn next(&mut self) -> KeyPair {
        KeyPair::new_with_rng(Algorithm::Ed25519, &mut self.rng)
    }
}

impl Install {
    /// The open chain of a grant, which only the store has.
    pub(crate) fn stolen_chain(&self, paired: &Paired) -> Chain {
        let id: GrantId = paired.grant_id.parse().unwrap();
        let sealed = block_on(async {
            let mut tx = self.host.store().await.read().await.unwrap();
            tx.grant(id).await.unwrap().unwrap().chain
        });
        let open = self.secrets().open_chain(id.uuid(), &sealed);
        Chain::from_stored(open.unwrap())
    }
}

/// The Datalog of a session block.
pub(crate) fn session_code(grant_id: &str, audience: &str) -> String {
    let (id, end) = (Uuid::from_u128(rand::random()), now().plus(600));
    format!(
        r#"session("{grant_id}", "{id}");
           check if audience($a), {{"{audience}"}}.contains($a);
           check if time($t), $t < {end};"#
    )
}

pub(crate) fn bytes(token: &str) -> Vec<u8> {
    URL_SAFE.decode(token).unwrap()
}

/// Puts the last block of one token onto another.
pub(crate) fn moved(from: &str, onto: &[u8]) -> String {
    let from = schema::Biscuit::decode(bytes(from).as_slice()).unwrap();
    altered(onto, |token| {
        token.blocks.extend(from.blocks.last().cloned());
        token.proof = from.proof;
    })
}

/// Changes a token and signs nothing again.
pub(crate) fn altered(token: &[u8], change: impl FnOnce(&mut schema::Biscuit)) -> String {
    let mut raw = schema::Biscuit::decode(token).unwrap();
    change(&mut raw);
    URL_SAFE.encode(raw.encode_to_vec())
}

/// Narrows an access token offline.
pub(crate) fn narrowed(token: &str, caveat: Caveat) -> String {
    let token = TokenText::new(token).unwrap();
    let narrowed = attenuate(&token, &[caveat], &mut StdRng::seed_from_u64(2));
    narrowed.unwrap().expose().to_owned()
}
