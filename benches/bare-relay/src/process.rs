//! The programs that are measured: started, read from `/proc`, and ended.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Outcome;

/// A program that runs. It is killed when this is dropped.
pub(crate) struct Process {
    pid: u32,
    _child: Child,
    /// What it printed until it was ready.
    pub(crate) said: String,
}

impl Process {
    /// Starts a program and waits for a line that begins with `ready`.
    pub(crate) async fn start(command: &mut Command, ready: &str) -> Outcome<Self> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("it ended at once")?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut said = String::new();
        while let Some(line) = lines.next_line().await? {
            said.push_str(&line);
            said.push('\n');
            if line.starts_with(ready) {
                // What it says later is read, so that it never waits for us.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self {
                    pid,
                    _child: child,
                    said,
                });
            }
        }
        Err(format!("it ended: {said}").into())
    }

    /// The CPU time of all its threads, in nanoseconds.
    pub(crate) fn cpu(&self) -> Outcome<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().ok_or("no schedstat")?;
            sum += first.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident(&self) -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no VmRSS")?.parse()?)
    }
}
