//! Invites that are brought on a connection: several in one text, all or none.

use hardtack::authority::Error;
use hardtack::authority::connection::ProvenDevice;
use hardtack::authority::redeem::Handed;
use hardtack::domain::pairing::{Ask, DeviceName, Metadata};

use super::support::{FROM, World, code};
use crate::device::Device;

fn ask(role: &str, scopes: &str) -> Ask {
    Ask {
        role: role.parse().unwrap(),
        scopes: scopes.parse().unwrap_or_default(),
        name: DeviceName::default(),
        metadata: Metadata::default(),
    }
}

impl World {
    async fn bring(&self, number: u64, codes: &str, ask: &Ask) -> Result<Vec<Handed>, Error> {
        let device = Device::new(number);
        let proven = ProvenDevice {
            device: device.id(),
            key: hardtack_token::PublicKey::from_bytes(device.key.verifying_key().as_bytes())
                .unwrap(),
        };
        let address = FROM.address;
        self.authority
            .bring_invites(codes, proven, ask, address)
            .await
    }

    async fn promised(&self, role: &str, scopes: &str) -> String {
        let mut promise = super::inviting::promise("operator.read");
        promise.role = role.parse().unwrap();
        promise.scopes = scopes.parse().unwrap_or_default();
        let by = &self.local;
        self.invite_by(by, promise).await.unwrap().1
    }
}

fn outcome(result: Result<Vec<Handed>, Error>) -> String {
    match result {
        Ok(_) => "given".to_owned(),
        Err(Error::Invite(why)) => why.code().to_owned(),
        Err(error) => code(&error),
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_a_part_is_given_the_whole_and_one_that_asks_for_more_nothing() {
    let world = World::new().await;
    let invite = world
        .promised("operator", "operator.read operator.write")
        .await;
    let more = ask("operator", "operator.read operator.admin");
    assert_eq!(
        outcome(world.bring(1, &invite, &more).await),
        "WiderThanInvite"
    );
    let part = ask("operator", "operator.read");
    let handed = world.bring(1, &invite, &part).await.unwrap();
    assert!(handed[0].is_new);
    assert_eq!(handed[0].scopes.to_string(), "operator.read operator.write");
    // Brought again it is what it was, whatever is asked for now.
    let again = world.bring(1, &invite, &ask("operator", "")).await.unwrap();
    assert!(!again[0].is_new);
    assert_eq!(again[0].grant.expose(), handed[0].grant.expose());
    assert_eq!(
        outcome(world.bring(2, &invite, &part).await),
        "invite_spent"
    );
}

#[tokio::test]
async fn invites_that_are_brought_together_are_all_given_or_none_is() {
    let world = World::new().await;
    let read = ask("operator", "");
    let operator = world.promised("operator", "operator.read").await;
    let spent = world.promised("operator", "operator.read").await;
    world.bring(1, &spent, &read).await.unwrap();
    for (codes, expected) in [
        (format!("{operator}.{spent}"), "invite_spent"),
        (
            format!("{operator}.BCDF-BCDF-BCDF-BCDF-BCDF"),
            "invalid_invite",
        ),
        (format!("{operator}.{operator}"), "InvalidRequest"),
        (format!("{operator}."), "invalid_invite"),
        (String::new(), "invalid_invite"),
    ] {
        assert_eq!(
            outcome(world.bring(2, &codes, &read).await),
            expected,
            "{codes}"
        );
    }
    assert_eq!(
        outcome(world.bring(2, &operator, &ask("node", "")).await),
        "InvalidRequest"
    );
    world.bring(2, &operator, &read).await.unwrap();
}

#[tokio::test]
async fn many_devices_bring_one_invite_at_the_same_time_and_one_has_it() {
    let world = World::new().await;
    let invite = world.promised("operator", "operator.read").await;
    let read = ask("operator", "operator.read");
    let all = (1..=8).map(|number| world.bring(number, &invite, &read));
    let all = futures_util::future::join_all(all).await;
    let mut outcomes: Vec<_> = all.into_iter().map(outcome).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes[0], "given");
    assert!(
        outcomes[1..].iter().all(|o| o == "invite_spent"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn an_invite_brought_by_a_device_whose_grant_ended_since_gives_nothing() {
    let world = World::new().await;
    let invite = world.promised("operator", "operator.read").await;
    let read = ask("operator", "operator.read");
    world.bring(1, &invite, &read).await.unwrap();
    // Another invite takes the place of the first.
    let other = world.promised("operator", "operator.read").await;
    world.bring(1, &other, &read).await.unwrap();
    assert_eq!(
        outcome(world.bring(1, &invite, &read).await),
        "invite_spent"
    );
    world.bring(1, &other, &read).await.unwrap();
}
