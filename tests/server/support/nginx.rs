//! nginx, with the configuration that is shipped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::http::{Request, authority};
use super::machine::Machine;
use super::wait::within;

const SHIPPED: &str = include_str!("../../../deploy/nginx/hardtack.conf");

/// How often another port is tried. Nobody keeps one free for a server that
/// cannot be given a socket.
const TRIES: usize = 20;

/// An nginx that serves. It ends with this value.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) url: String,
}

impl Nginx {
    /// Starts nginx before an application, with the gateway to ask.
    pub(crate) fn start(machine: &Machine, gateway: &str, app: &str) -> Self {
        Self::start_with(machine, gateway, app, |text| text)
    }

    /// The same, with a change to the configuration.
    pub(crate) fn start_with(
        machine: &Machine,
        gateway: &str,
        app: &str,
        change: impl Fn(String) -> String,
    ) -> Self {
        for _ in 0..TRIES {
            let port = free_port();
            let text = replaced(SHIPPED, "127.0.0.1:7421", authority(gateway));
            let text = replaced(&text, "127.0.0.1:8080", authority(app));
            let text = replaced(&text, "127.0.0.1:80;", &format!("127.0.0.1:{port};"));
            if let Some(nginx) = Self::try_start(machine, &change(text), port) {
                return nginx;
            }
        }
        panic!("nginx found no free port");
    }

    /// Starts nginx with a configuration of its own; `None` if one of its ports
    /// was taken meanwhile. It answers on `port`.
    pub(crate) fn try_start(machine: &Machine, site: &str, port: u16) -> Option<Self> {
        let dir = machine.path("nginx");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("site.conf"), site).unwrap();
        let at = dir.to_str().unwrap();
        // Workers of another user could not read the directory of the test.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let main = format!(
            "{user} daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n\
             events {{}}\n\
             http {{ access_log off; include site.conf;\n\
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
               fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi; }}\n"
        );
        std::fs::write(dir.join("nginx.conf"), main).unwrap();
        let child = Command::new(program())
            .args(["-p", at, "-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut nginx = Self { child, url };
        let serves = within(Duration::from_secs(10), || {
            if nginx.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let asked = Request::get("/.hardtack/").try_send(&nginx.url);
            asked.ok().map(|_| true)
        });
        if serves != Some(true) {
            let log = std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
            assert!(log.contains("Address already in use"), "{log}");
            return None;
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        // SIGTERM: the master ends its workers first.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

fn program() -> PathBuf {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&in_path).chain(["/usr/sbin".into()]);
    let mut found = places
        .map(|dir| dir.join("nginx"))
        .filter(|path| path.is_file());
    found
        .next()
        .expect("nginx is needed for this test (Debian: apt-get install nginx-light)")
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
