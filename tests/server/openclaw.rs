//! OpenClaw's clients at the door: every frame as it stands on the wire.

mod admission;
mod application;
mod client;
mod ends;
mod gateway;
mod methods;
mod pairing;
mod relay;
mod renewal;
mod setup;
mod upgrades;

use serde_json::Value;

use crate::device::Device;
use crate::support::{Install, Machine, eventually};
use client::{Client, Hello};
use gateway::Gateway;

/// An install with a gateway behind its door.
struct Door {
    install: Install,
    gateway: Gateway,
    url: String,
}

impl Door {
    fn new() -> Self {
        Self::with(&[])
    }

    /// A door of a server that was started with more arguments.
    fn with(args: &[&str]) -> Self {
        let gateway = Gateway::start();
        let behind = ["--openclaw-listen", "127.0.0.1:0", "--openclaw-upstream"];
        let all = [&behind[..], &[gateway.url.as_str()], args].concat();
        let install = Install::on(Machine::new(), &all);
        let file = install.host.data_dir().join("server.json");
        let file: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let url = file["openclaw_url"].as_str().unwrap().to_owned();
        Self {
            install,
            gateway,
            url,
        }
    }

    /// A device asks for these scopes and is told to wait; the id of its request.
    fn asks(&self, device: &Device, scopes: &[&str]) -> String {
        let refused = Hello::of(device)
            .scopes(scopes)
            .connect(&self.url)
            .refused();
        refused.request_id()
    }

    fn approve(&self, id: &str) {
        self.install.host.run(&["devices", "approve", id]).ok();
    }

    /// A new device that is let in.
    fn paired(&self, number: u64, scopes: &[&str]) -> (Device, Client) {
        let device = Device::new(number);
        let id = self.asks(&device, scopes);
        self.approve(&id);
        let client = self.comes(&device, scopes);
        (device, client)
    }

    /// A paired device connects.
    fn comes(&self, device: &Device, scopes: &[&str]) -> Client {
        Hello::of(device)
            .scopes(scopes)
            .connect(&self.url)
            .welcome()
    }

    /// How many clients the gateway behind has.
    fn behind(&self, count: usize) {
        eventually("connections behind the door", || {
            (self.gateway.open() == count).then_some(())
        });
    }
}
