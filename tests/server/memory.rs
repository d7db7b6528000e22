//! The memory of a server, as somebody sees it who steals an image of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::first_boot::{approves, root_key};
use crate::support::forge::Forge;
use crate::support::people::ROOT;
use crate::support::{Install, Server};

/// All that a process can write to; `None` where the system does not let us look.
fn image(server: &Server) -> Option<Vec<u8>> {
    let pid = server.pid();
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut image = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next()?.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (address(range.0)?, address(range.1)?);
        let mut part = vec![0; usize::try_from(end - start).ok()?];
        // Some ranges are the kernel's own.
        if memory.read_exact_at(&mut part, start).is_ok() {
            image.extend(part);
        }
    }
    Some(image)
}

fn holds(image: &[u8], secret: &[u8]) -> bool {
    // A whole pass for each window would take minutes in a test build.
    let first = secret[0];
    let mut rest = image;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(secret) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// I2: the root private key is in clear only inside an operation that presented
/// the root token.
#[test]
fn the_root_key_is_in_memory_only_while_it_is_used() {
    let install = Install::new();
    let server = &install.server;
    let Some(after_boot) = image(server) else {
        return;
    };
    let (key, token) = (root_key(&install), install.root.as_bytes());
    // What is there is found.
    assert!(holds(&after_boot, &Forge::of(&install).key.secret()));
    assert!(!holds(&after_boot, &key));
    assert!(!holds(&after_boot, token));

    assert!(approves(server, &install.root));
    let scope = [("scope", "operator.read")];
    server.exchange_of(&install.root, ROOT, &scope).expect(200);
    assert!(!holds(&image(server).unwrap(), &key));
}
