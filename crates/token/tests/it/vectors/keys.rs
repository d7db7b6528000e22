//! `keys.json`: what a verifier of the vectors trusts, in the form of
//! `/.well-known/hardtack`, and the secrets that made them.

use ed25519_dalek::SigningKey;
use hardtack_token::{
    AttestationKey, Catalog, DeviceId, Implied, KeyRing, KeyState, PublicKey, RootKeyId,
};
use serde::{Deserialize, Serialize};

use crate::support::{NOW, World};

/// The number of devices whose keys the vectors use.
const DEVICES: u8 = 3;

#[expect(
    clippy::struct_field_names,
    reason = "the members have these names in the file"
)]
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Keys {
    profile: u32,
    now: String,
    root_keys: Vec<Key>,
    attestation_keys: Vec<Key>,
    scopes: Vec<Declared>,
    devices: Vec<Device>,
}

#[expect(
    clippy::struct_field_names,
    reason = "the members have these names in the file"
)]
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    id: u32,
    key: String,
    state: String,
    secret: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Declared {
    name: String,
    description: String,
    implies: Vec<String>,
}

#[expect(
    clippy::struct_field_names,
    reason = "the members have these names in the file"
)]
#[derive(Debug, Serialize, Deserialize)]
struct Device {
    device_id: String,
    key: String,
    secret: String,
}

/// The world of all vectors, its random numbers set apart for each use.
pub(super) fn world(stream: u64) -> World {
    use rand::SeedableRng;

    let mut world = World::new(super::SEED);
    world.rng = rand::rngs::StdRng::seed_from_u64(stream);
    world
}

pub(super) fn device_key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[0xd0 | n; 32])
}

pub(super) fn device_id(n: u8) -> DeviceId {
    DeviceId::of(&device_key(n).verifying_key())
}

pub(super) fn make() -> Keys {
    let world = world(0);
    let key = |id, secret: &[u8], public: PublicKey| Key {
        id,
        key: public.to_string(),
        state: KeyState::Active.as_str().to_owned(),
        secret: hex::encode(secret),
    };
    let implied = |implied: &Implied| match implied {
        Implied::Scope(scope) => scope.to_string(),
        Implied::Under(prefix) => format!("{prefix}.*"),
    };
    let scopes = world.catalog.declared().iter().map(|declared| Declared {
        name: declared.scope.to_string(),
        description: declared.description.clone(),
        implies: declared.implies.iter().map(implied).collect(),
    });
    let devices = (1..=DEVICES).map(|n| Device {
        device_id: device_id(n).to_string(),
        key: format!("ed25519/{}", hex::encode(device_key(n).verifying_key())),
        secret: hex::encode(device_key(n).to_bytes()),
    });
    Keys {
        profile: 1,
        now: NOW.to_string(),
        root_keys: vec![key(
            world.root.id().get(),
            &world.root.secret(),
            world.root.public().unwrap(),
        )],
        attestation_keys: vec![key(1, &world.key.secret(), world.key.public().unwrap())],
        scopes: scopes.collect(),
        devices: devices.collect(),
    }
}

/// The ring and the catalog of the file.
pub(super) fn trusted() -> (KeyRing, std::sync::Arc<Catalog>) {
    let keys = make();
    let mut ring = KeyRing::new();
    for root in &keys.root_keys {
        let id = RootKeyId::new(root.id);
        ring = ring.with_root(id, root.key.parse().unwrap(), root.state.parse().unwrap());
    }
    for key in &keys.attestation_keys {
        ring = ring.with_attestation(key.key.parse().unwrap(), key.state.parse().unwrap());
    }
    let mut catalog = Catalog::builder();
    for scope in &keys.scopes {
        let name = || scope.name.parse().unwrap();
        catalog.scope(name(), &scope.description).unwrap();
        for implied in &scope.implies {
            let implied = match implied.strip_suffix(".*") {
                Some(prefix) => Implied::Under(prefix.to_owned()),
                None => Implied::Scope(implied.parse().unwrap()),
            };
            catalog.implies(name(), implied);
        }
    }
    (ring, std::sync::Arc::new(catalog.build().unwrap()))
}

#[test]
fn each_secret_is_of_the_key_beside_it() {
    let keys: Keys = super::read("keys");
    for key in keys.root_keys.iter().chain(&keys.attestation_keys) {
        let secret: [u8; 32] = hex::decode(&key.secret).unwrap().try_into().unwrap();
        let public = AttestationKey::from_secret(&secret).unwrap().public();
        assert_eq!(public.unwrap().to_string(), key.key);
    }
}
