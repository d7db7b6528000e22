//! The server as a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::machine::{Machine, Run};
use super::wait::{DEADLINE, within};

const ROOT_TOKEN: &str = "HARDTACK_ROOT_TOKEN=";
/// How long a server may take to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server that serves. It ends with this value.
pub(crate) struct Server {
    child: Child,
    /// The URL of the API.
    pub(crate) url: String,
    /// The URL of the gateway.
    pub(crate) gateway: String,
    /// The root token, if this start printed one.
    pub(crate) root: Option<String>,
    stdout: Stream,
    stderr: Stream,
}

/// A stream of a process, and all that came on it so far.
struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a machine, on free ports, and waits until it serves.
    pub(crate) fn start(machine: &Machine, args: &[&str]) -> Self {
        Self::begin(machine, args)
            .ready()
            .unwrap_or_else(|ended| panic!("it does not serve: {ended:?}"))
    }

    /// Starts a server that is not to get so far, and says how it ended.
    pub(crate) fn fail(machine: &Machine, args: &[&str]) -> Run {
        match Self::begin(machine, args).ready() {
            Ok(_) => panic!("it serves with {args:?}"),
            Err(ended) => ended,
        }
    }

    pub(crate) fn begin(machine: &Machine, args: &[&str]) -> Starting {
        let ports = ["--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"];
        let taken = |flag: &&str| args.contains(flag);
        let ports = ports.chunks(2).filter(|pair| !taken(&pair[0])).flatten();
        let all: Vec<&str> = ["serve"].iter().chain(ports).chain(args).copied().collect();
        let mut child = machine
            .command(&all)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = mpsc::channel();
        let stdout = Stream::read(child.stdout.take().unwrap(), Some(tell));
        let stderr = Stream::read(child.stderr.take().unwrap(), None);
        Starting {
            server: Self {
                child,
                url: String::new(),
                gateway: String::new(),
                root: None,
                stdout,
                stderr,
            },
            lines,
        }
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(mut self) -> Run {
        self.terminate();
        self.ended()
    }

    /// Ends it as a power cut does, and nothing more.
    pub(crate) fn kill(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).ok();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
    }

    /// Waits for the end, which is made if it does not come.
    fn ended(&mut self) -> Run {
        let status = within(PATIENCE, || self.child.try_wait().unwrap());
        if status.is_none() {
            self.child.kill().ok();
        }
        let status = self.child.wait().unwrap();
        Run {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout.until_closed(),
            stderr: self.stderr.until_closed(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that was waited for has no id any more.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            self.ended();
        }
    }
}

/// A server that does not serve yet.
pub(crate) struct Starting {
    server: Server,
    lines: mpsc::Receiver<String>,
}

impl Starting {
    /// Waits for the line that says so, or for the end of the process.
    pub(crate) fn ready(self) -> Result<Server, Run> {
        let Self { mut server, lines } = self;
        while let Ok(line) = lines.recv_timeout(DEADLINE) {
            if let Some(token) = line.strip_prefix(ROOT_TOKEN) {
                server.root = Some(token.to_owned());
            }
            if let Some(urls) = line.strip_prefix("hardtack ready api=") {
                let (api, gateway) = urls.split_once(" gateway=").unwrap();
                (server.url, server.gateway) = (api.to_owned(), gateway.to_owned());
                return Ok(server);
            }
        }
        Err(server.ended())
    }
}

impl Stream {
    fn read(from: impl Read + Send + 'static, tell: Option<mpsc::Sender<String>>) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let line = line.unwrap();
                kept.lock().unwrap().extend([line.as_str(), "\n"]);
                // Nobody listens any more once the server is ready.
                tell.as_ref().map(|tell| tell.send(line));
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn until_closed(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}
