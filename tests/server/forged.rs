//! Tokens that somebody made who has stolen a part of the secrets.

use crate::refusals::{gateway, read};
use crate::support::forge::{Forge, altered, bytes, moved, session_code};

#[test]
fn a_session_under_another_attestation_key_is_refused() {
    let (install, upstream) = gateway();
    let paired = install.pair(1, "operator.read");
    let chain = install.stolen_chain(&paired);
    let mut forge = Forge::of(&install).with_own_key();
    let forged = forge.session(&chain, &install.server.gateway);
    assert_eq!(read(&install.server, &forged).outcome(), "401 unknown_key");
    // Under the right name, without the right key.
    let genuine = install.server.token(&paired);
    let named = altered(&bytes(&forged), |token| {
        let genuine = altered_key(&genuine);
        let last = token.blocks.last_mut().unwrap();
        last.external_signature.as_mut().unwrap().public_key = genuine;
    });
    assert_eq!(read(&install.server, &named).outcome(), "401 bad_signature");
    assert_eq!(upstream.requests(), [""; 0]);
}

fn altered_key(token: &str) -> biscuit_auth::format::schema::PublicKey {
    let mut key = None;
    altered(&bytes(token), |token| {
        let last = token.blocks.last().unwrap();
        key = Some(last.external_signature.as_ref().unwrap().public_key.clone());
    });
    key.unwrap()
}

#[test]
fn a_session_of_another_grant_activates_nothing() {
    let (install, upstream) = gateway();
    let (own, stolen) = (
        install.pair(1, "operator.read"),
        install.pair(2, "operator.admin"),
    );
    let chain = install.stolen_chain(&stolen);
    let code = session_code(&own.grant_id, &install.server.gateway);
    let forged = Forge::of(&install).attest(chain.to_stored(), &code);
    assert_eq!(
        read(&install.server, &forged).outcome(),
        "401 not_activated"
    );
    assert_eq!(upstream.requests(), [""; 0]);
}

/// Whoever has the attestation key, the chain and this much cannot be refused by
/// signatures: a control for the tests beside it.
#[test]
fn a_session_made_with_all_secrets_passes() {
    let (install, _upstream) = gateway();
    let stolen = install.pair(1, "operator.read");
    let chain = install.stolen_chain(&stolen);
    let code = session_code(&stolen.grant_id, &install.server.gateway);
    let mut forge = Forge::of(&install);
    let by_hand = forge.attest(chain.to_stored(), &code);
    assert_eq!(read(&install.server, &by_hand).status, 200);
}

#[test]
fn a_block_that_was_moved_onto_another_grant_is_refused() {
    let (install, upstream) = gateway();
    let (own, stolen) = (
        install.pair(1, "operator.read"),
        install.pair(2, "operator.admin"),
    );
    let chain = install.stolen_chain(&stolen);
    let mut forge = Forge::of(&install);

    let honest = install.server.token(&own);
    let session = moved(&honest, chain.to_stored());
    assert_eq!(
        read(&install.server, &session).outcome(),
        "401 bad_signature"
    );

    // The splice: the session is attested over a block of the holder's, which
    // does not sign what precedes it.
    let code = session_code(&own.grant_id, &install.server.gateway);
    let held = forge.hold(install.stolen_chain(&own).to_stored(), "");
    let attested = forge.attest(&bytes(&held), &code);
    let on_stolen = forge.hold(chain.to_stored(), "");
    for spliced in [attested.clone(), moved(&attested, &bytes(&on_stolen))] {
        assert_eq!(
            read(&install.server, &spliced).outcome(),
            "401 outside_profile"
        );
    }
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_session_that_nobody_attested_is_outside_the_profile() {
    let (install, upstream) = gateway();
    let stolen = install.pair(1, "operator.admin");
    let chain = install.stolen_chain(&stolen);
    let mut forge = Forge::of(&install);
    let code = session_code(&stolen.grant_id, &install.server.gateway);
    let held = forge.hold(chain.to_stored(), &code);
    assert_eq!(
        read(&install.server, &held).outcome(),
        "401 outside_profile"
    );
    // Nor is a second one over an attested one, or a wider scope.
    let token = install.server.token(&stolen);
    for code in [code.as_str(), r#"scope("*");"#, "allow_all(true);"] {
        for token in [
            forge.hold(&bytes(&token), code),
            forge.attest(&bytes(&token), code),
        ] {
            assert_eq!(
                read(&install.server, &token).outcome(),
                "401 outside_profile",
                "{code}"
            );
        }
    }
    assert_eq!(upstream.requests(), [""; 0]);
}

#[test]
fn a_token_that_was_changed_is_refused() {
    let (install, upstream) = gateway();
    let token = bytes(&install.server.token(&install.pair(1, "operator.read")));
    let unknown_root = altered(&token, |token| token.root_key_id = Some(7));
    let no_root = altered(&token, |token| token.root_key_id = None);
    let resigned = altered(&token, |token| token.blocks[0].signature[0] ^= 1);
    let shorter = altered(&token, |token| drop(token.blocks.remove(0)));
    for (token, code) in [
        (unknown_root, "unknown_key"),
        (no_root, "unknown_key"),
        (resigned, "bad_signature"),
        (shorter, "bad_signature"),
    ] {
        assert_eq!(
            read(&install.server, &token).outcome(),
            format!("401 {code}")
        );
    }
    assert_eq!(upstream.requests(), [""; 0]);
}
