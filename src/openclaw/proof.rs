//! A device's signature over its `connect` request, in the forms v2 and v3.
//!
//! It covers the challenge's nonce, and so this very socket; the device, what it
//! asks for, and the token it sends. The device id is hardtack's own: the
//! lower-case hex of the SHA-256 of the raw public key.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::Signature;
use hardtack_token::{DeviceId, PublicKey};

use crate::authority::connection::ProvenDevice;
use crate::openclaw::connect::{ConnectParams, Device};
use crate::openclaw::errors::{ErrorShape, Refusal};

/// What a device's clock may be off besides the skew that is set, in milliseconds:
/// the time that the request is under way.
const LEEWAY: u64 = 5_000;

/// Base64url, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a proof is checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// The nonce of this socket's challenge.
    pub(super) nonce: &'a str,
    /// Milliseconds since the epoch.
    pub(super) now: u64,
    /// How far the device's clock may be off, in milliseconds.
    pub(super) skew: u64,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadProof {
    PublicKey,
    DeviceId,
    Expired,
    NonceMissing,
    NonceMismatch,
    Signature,
}

/// Checks the proof of a device.
pub(super) fn check(
    params: &ConnectParams,
    device: &Device,
    expected: Expected<'_>,
) -> Result<ProvenDevice, BadProof> {
    let key = public_key(&device.public_key).ok_or(BadProof::PublicKey)?;
    let id = DeviceId::of(key.verifying_key());
    if device.id != id.to_string() {
        return Err(BadProof::DeviceId);
    }
    if device.signed_at.abs_diff(expected.now) > expected.skew.saturating_add(LEEWAY) {
        return Err(BadProof::Expired);
    }
    if device.nonce.trim().is_empty() {
        return Err(BadProof::NonceMissing);
    }
    if device.nonce != expected.nonce {
        return Err(BadProof::NonceMismatch);
    }
    // SECURITY: the parts are joined without escaping. With a separator inside
    // one of them a signature could be read as that of another request.
    if [&params.client.id, &params.client.mode]
        .iter()
        .any(|part| part.contains('|'))
    {
        return Err(BadProof::Signature);
    }
    let signature = BASE64.decode(&device.signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or(BadProof::Signature)?;
    let signed = |text: String| {
        let key = key.verifying_key();
        key.verify_strict(text.as_bytes(), &signature).is_ok()
    };
    if signed(payload_v3(params, device)) || signed(payload_v2(params, device)) {
        Ok(ProvenDevice { device: id, key })
    } else {
        Err(BadProof::Signature)
    }
}

impl BadProof {
    /// The answer and the close: message, code and reason by the protocol.
    pub(super) fn refusal(self) -> Refusal {
        let (message, code, reason) = match self {
            Self::PublicKey => (
                "device public key invalid",
                "DEVICE_AUTH_PUBLIC_KEY_INVALID",
                "device-public-key",
            ),
            Self::DeviceId => (
                "device identity mismatch",
                "DEVICE_AUTH_DEVICE_ID_MISMATCH",
                "device-id-mismatch",
            ),
            Self::Expired => (
                "device signature expired",
                "DEVICE_AUTH_SIGNATURE_EXPIRED",
                "device-signature-stale",
            ),
            Self::NonceMissing => (
                "device nonce required",
                "DEVICE_AUTH_NONCE_REQUIRED",
                "device-nonce-missing",
            ),
            Self::NonceMismatch => (
                "device nonce mismatch",
                "DEVICE_AUTH_NONCE_MISMATCH",
                "device-nonce-mismatch",
            ),
            Self::Signature => (
                "device signature invalid",
                "DEVICE_AUTH_SIGNATURE_INVALID",
                "device-signature",
            ),
        };
        let error = ErrorShape::invalid(message);
        Refusal::said(error.with("code", code).with("reason", reason))
    }
}

fn public_key(text: &str) -> Option<PublicKey> {
    let bytes: [u8; 32] = BASE64.decode(text).ok()?.try_into().ok()?;
    PublicKey::from_bytes(&bytes).ok()
}

fn payload_v2(params: &ConnectParams, device: &Device) -> String {
    let role = params.role.as_deref().unwrap_or(crate::authority::OPERATOR);
    [
        "v2",
        &device.id,
        &params.client.id,
        &params.client.mode,
        role,
        &params.scope_texts().join(","),
        &device.signed_at.to_string(),
        params.signed_token(),
        &device.nonce,
    ]
    .join("|")
}

fn payload_v3(params: &ConnectParams, device: &Device) -> String {
    let plain = |text: &str| text.trim().to_ascii_lowercase();
    let family = params.client.device_family.as_deref().unwrap_or_default();
    let v2 = payload_v2(params, device);
    let rest = v2.strip_prefix("v2").unwrap_or_default();
    let platform = plain(&params.client.platform);
    format!("v3{rest}|{platform}|{}", plain(family))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::{Signer, SigningKey};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_795_343_305_912;
    const NONCE: &str = "82c097f0-0000-4000-8000-000000000000";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn id() -> String {
        DeviceId::of(&key().verifying_key()).to_string()
    }

    /// A `connect` whose device signed `payload`.
    fn connect(payload: &str) -> Value {
        json!({
            "minProtocol": 4, "maxProtocol": 4,
            "client": {"id": "cli", "version": "1", "platform": " Linux ", "mode": "cli"},
            "role": "operator", "scopes": ["operator.write", "operator.read"],
            "auth": {"token": "t0", "deviceToken": "d0"},
            "device": {
                "id": id(),
                "publicKey": URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes()),
                "signature": URL_SAFE_NO_PAD.encode(key().sign(payload.as_bytes()).to_bytes()),
                "signedAt": NOW, "nonce": NONCE,
            },
        })
    }

    fn v2() -> String {
        let id = id();
        format!("v2|{id}|cli|cli|operator|operator.write,operator.read|{NOW}|t0|{NONCE}")
    }

    fn v3() -> String {
        format!("v3{}|linux|", v2().trim_start_matches("v2"))
    }

    fn checked(connect: &Value, now: u64) -> Result<ProvenDevice, BadProof> {
        let params = ConnectParams::read(connect).unwrap();
        let expected = Expected {
            nonce: NONCE,
            now,
            skew: 120_000,
        };
        check(&params, params.device.as_ref().unwrap(), expected)
    }

    #[test]
    fn both_forms_are_accepted() {
        for payload in [v2(), v3()] {
            let proven = checked(&connect(&payload), NOW).unwrap();
            assert_eq!(proven.device.to_string(), id());
        }
    }

    #[test]
    fn whatever_is_signed_cannot_be_changed() {
        for (pointer, value) in [
            ("/client/id", json!("gateway-client")),
            ("/client/mode", json!("backend")),
            ("/role", json!("node")),
            ("/scopes", json!(["operator.read", "operator.write"])),
            ("/scopes", json!(["operator.admin"])),
            ("/auth/token", json!("t1")),
            ("/device/signedAt", json!(NOW + 1)),
            ("/client/platform", json!("darwin")),
        ] {
            let mut changed = connect(&v3());
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(
                checked(&changed, NOW).unwrap_err(),
                BadProof::Signature,
                "{pointer}"
            );
        }
    }

    #[test]
    fn the_clock_may_be_off_by_the_skew_and_a_little() {
        for (off, good) in [
            (119_000, true),
            (125_000, true),
            (125_001, false),
            (130_000, false),
        ] {
            for now in [NOW + off, NOW - off] {
                let outcome = checked(&connect(&v3()), now).map(drop);
                assert_eq!(outcome, if good { Ok(()) } else { Err(BadProof::Expired) });
            }
        }
    }

    #[test]
    fn each_part_of_a_proof_is_checked() {
        for (pointer, value, expected) in [
            ("/device/publicKey", json!("AAAA"), BadProof::PublicKey),
            // A key of low order, for which anybody signs.
            (
                "/device/publicKey",
                json!(URL_SAFE_NO_PAD.encode([0; 32])),
                BadProof::PublicKey,
            ),
            ("/device/id", json!("00".repeat(32)), BadProof::DeviceId),
            ("/device/id", json!(id().to_uppercase()), BadProof::DeviceId),
            ("/device/nonce", json!(" "), BadProof::NonceMissing),
            ("/device/nonce", json!("other"), BadProof::NonceMismatch),
            ("/device/signature", json!("AAAA"), BadProof::Signature),
            (
                "/device/signature",
                json!("not base64!"),
                BadProof::Signature,
            ),
        ] {
            let mut changed = connect(&v3());
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(checked(&changed, NOW).unwrap_err(), expected, "{pointer}");
        }
    }

    #[test]
    fn a_separator_inside_a_part_is_refused() {
        let payload = v2().replace("|cli|cli|", "|cli|x|cli|");
        let mut shifted = connect(&payload);
        shifted["client"]["id"] = json!("cli|x");
        assert_eq!(checked(&shifted, NOW).unwrap_err(), BadProof::Signature);
    }

    #[test]
    fn the_token_that_is_signed_is_the_first_that_was_sent() {
        let mut sent = connect(&v2().replace("|t0|", "|d0|"));
        sent["auth"] = json!({"deviceToken": "d0", "bootstrapToken": "b0"});
        assert!(checked(&sent, NOW).is_ok());
        let mut none = connect(&v2().replace("|t0|", "||"));
        none["auth"] = json!({"password": "p0"});
        assert!(checked(&none, NOW).is_ok());
    }
}
