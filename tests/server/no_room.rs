//! A disk that is full, and a directory that cannot be written: everything is
//! refused in clear words, nothing is lost, and it goes on by itself afterwards.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::device::Device;
use crate::support::{Answer, Install, Machine, Request, Server, eventually};

/// Ways to run out of room.
enum Room {
    /// A file system of three megabytes, which only root can make.
    Small(Mounted),
    /// No file may grow beyond its first byte.
    Limited(u32),
}

/// A file system that is there as long as this value.
struct Mounted(PathBuf);

impl Mounted {
    fn new(on: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(on).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(on);
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then(|| Self(on.to_owned()))
    }

    fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        let options = format!("remount,{option}");
        let status = mount.args(["-o", &options]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

impl Room {
    fn take(&self) {
        match self {
            Self::Small(mounted) => {
                let mut options = File::options();
                let filler = options.create(true).append(true);
                let mut filler = filler.open(mounted.0.join("filler")).unwrap();
                while filler.write_all(&[0; 4096]).is_ok() {}
            }
            Self::Limited(pid) => limit(*pid, Some(1)),
        }
    }

    fn give_back(&self) {
        match self {
            Self::Small(mounted) => fs::remove_file(mounted.0.join("filler")).unwrap(),
            Self::Limited(pid) => limit(*pid, None),
        }
    }
}

fn limit(pid: u32, current: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap());
    let limit = Rlimit {
        current,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

/// Installs that can run out of room, each in its own way.
fn installs() -> Vec<(Install, Room)> {
    let host = Machine::new();
    let mut all = Vec::new();
    if let Some(mounted) = Mounted::new(&host.data_dir(), "size=3m,mode=700") {
        all.push((Install::on(host, &[]), Room::Small(mounted)));
    }
    let install = Install::new();
    let room = Room::Limited(install.server.pid());
    all.push((install, room));
    all
}

#[test]
fn without_room_changes_are_refused_and_with_room_they_go_on() {
    for (install, room) in installs() {
        let server = &install.server;
        let paired = install.pair(1, "operator.read");
        let token = server.token(&paired);
        let local = install.local();
        let waiting = server.ask(&Device::new(2), "operator.read");
        // What the database's log has room for still goes through, and that room
        // comes back when the log is folded in.
        let refused = |ask: &dyn Fn() -> Answer| {
            eventually("no room", || {
                room.take();
                let answer = ask();
                (answer.status >= 300).then_some(answer)
            })
        };
        let ready = refused(&|| server.send(&Request::get("/readyz")));
        assert_eq!(ready.status, 503);
        let said = ready.json()["checks"]["store"].to_string();
        assert!(said.contains("cannot be written"), "{said}");
        let exchange = refused(&|| server.exchange(&paired, &[]));
        assert_eq!(exchange.outcome(), "503 store_unavailable");
        let numbers = Cell::new(10);
        let asked = refused(&|| {
            numbers.set(numbers.get() + 1);
            let ask = json!({"scopes": ["operator.read"]});
            let ask = Request::post("/v1/pairing-requests").json(&ask);
            server.prove(&Device::new(numbers.get()), &ask)
        });
        assert_eq!(asked.outcome(), "503 store_unavailable");
        assert_eq!(asked.header("retry-after"), "1");
        let detail = asked.member("detail");
        assert!(detail.contains("cannot be written"), "{detail}");
        // Reading and deciding go on.
        let whoami = Request::get("/.hardtack/whoami");
        assert_eq!(server.through(&token, whoami).outcome(), "200");

        room.give_back();
        eventually("ready again", || {
            let ready = server.send(&Request::get("/readyz"));
            (ready.status == 200).then_some(())
        });
        server.approve(&local, &waiting, &json!({})).expect(200);
        server.exchange(&paired, &[]).expect(200);
        let Install { server, host, .. } = install;
        server.stop();
        let server = Server::start(&host, &[]);
        assert_eq!(server.root, None);
        server.exchange(&paired, &[]).expect(200);
    }
}

/// A start on files that cannot be written, and on a disk without room for them.
#[test]
fn a_start_without_room_says_why_and_shows_no_token() {
    let host = Machine::new();
    let Some(mounted) = Mounted::new(&host.data_dir(), "size=1m,mode=700") else {
        // Whoever is not root is stopped by the directory's mode.
        return;
    };
    mounted.remount("ro");
    let ended = Server::fail(&host, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
    mounted.remount("rw");
    let room = Room::Small(mounted);
    room.take();
    let ended = Server::fail(&host, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    room.give_back();
    let server = Server::start(&host, &[]);
    assert!(server.root.is_some());
}
