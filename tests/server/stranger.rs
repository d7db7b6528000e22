//! Somebody else on the machine of the install.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Install, Run};

#[test]
fn an_unreadable_data_directory_says_what_to_do() {
    let install = Install::new();
    let stranger = Stranger::of(&install);
    let url = install.server.url.as_str();
    let refused = stranger.run(&["devices", "list", "--url", url]);
    assert_eq!(refused.code, 3, "{refused:?}");
    let used = refused
        .stderr
        .lines()
        .find(|line| line.starts_with("used: "));
    assert!(
        used.unwrap()
            .contains("run this as the owner of the data directory"),
        "{refused:?}"
    );
    let reset = stranger.run(&["root", "reset", "--yes"]);
    assert_ne!(reset.code, 0, "{reset:?}");
    assert!(!reset.stdout.contains("HARDTACK_ROOT_TOKEN"));
    assert!(
        reset.stderr.contains("hardtack") && !reset.stderr.contains("panicked"),
        "{reset:?}"
    );
}

/// Files that root made in the data directory of another user would lock it out.
#[test]
fn who_is_not_the_owner_makes_nothing_in_a_data_directory() {
    if !is_root() {
        return;
    }
    let Install { server, host, .. } = Install::new();
    server.stop();
    let mut own = vec![host.data_dir()];
    let files = std::fs::read_dir(host.data_dir()).unwrap();
    own.extend(files.map(|file| file.unwrap().path()));
    for path in own {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let before = host.files();
    for args in [&["root", "reset", "--yes"][..], &["init"], &["serve"]] {
        let refused = host.run(&[args, &["--json"]].concat());
        assert_eq!(refused.outcome(), "3 foreign_data_dir", "{args:?}");
        assert!(refused.stderr.contains("65534"), "{refused:?}");
    }
    assert_eq!(host.files(), before);
}

/// Somebody on the machine who may not read the data directory.
struct Stranger<'a>(&'a Install);

impl<'a> Stranger<'a> {
    fn of(install: &'a Install) -> Self {
        if !is_root() {
            // There is no other user to be: what is locked is locked for the owner too.
            allow(&install.host.data_dir(), 0o000);
        }
        Self(install)
    }

    fn run(&self, args: &[&str]) -> Run {
        let own = self.0.host.command(args);
        // Reached by its number: strangers may not see the way to the program.
        let program = File::open(own.get_program()).unwrap();
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        if is_root() {
            command.uid(65534);
        }
        let variables = own
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        command.args(args).env_clear().envs(variables);
        command.current_dir("/");
        Run::of(command)
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        allow(&self.0.host.data_dir(), 0o700);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
