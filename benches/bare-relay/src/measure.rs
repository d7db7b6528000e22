//! The measurement: interleaved rounds of hardtack, the bare relay and no relay
//! at all, of which the medians count; then idle connections.

use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Outcome;
use crate::client::{self, Client, Entry};
use crate::gateway;
use crate::process::Process;

/// How many connections carry messages at the same time.
const BUSY: usize = 8;
/// How many requests each of them has unanswered at most.
const WINDOW: usize = 16;
/// How many requests are sent one after the other for the latency.
const SINGLE: usize = 2000;
/// How many clients connect at the same time.
const AT_ONCE: usize = 25;

pub(crate) struct Plan {
    pub(crate) hardtack: String,
    pub(crate) clients: usize,
    pub(crate) messages: usize,
    pub(crate) rounds: usize,
}

/// One way to the gateway.
struct Way<'a> {
    name: &'static str,
    process: Option<&'a Process>,
    busy: Vec<Client>,
    rates: Vec<f64>,
    /// Microseconds for each message, where there is a process in between.
    costs: Vec<f64>,
    /// Microseconds there and back: the median and one of a hundred.
    middle: Vec<f64>,
    slow: Vec<f64>,
}

pub(crate) async fn run(plan: &Plan) -> Outcome<()> {
    let upstream = gateway::start().await?;
    let bare = start_relay(&upstream).await?;
    let home = tempfile::tempdir()?;
    let hardtack = start_hardtack(&plan.hardtack, home.path(), &upstream).await?;
    let url = hardtack
        .said
        .lines()
        .find_map(|line| line.trim().strip_prefix("OpenClaw clients: "));
    let door = url.ok_or("no door")?.to_owned();
    let key = SigningKey::from_bytes(&[7; 32]);
    let Entry::Waits(id) = client::connect(&door, &key).await? else {
        return Err("a device is let in that nobody approved".into());
    };
    let mut approve = Command::new(&plan.hardtack);
    approve
        .args(["devices", "approve", &id])
        .env("HOME", home.path());
    if !approve.output().await?.status.success() {
        return Err("the device is not approved".into());
    }

    let mut ways = Vec::new();
    for (name, url, process) in [
        ("hardtack", door.as_str(), Some(&hardtack)),
        ("bare relay", bare.said.trim(), Some(&bare)),
        ("no relay", upstream.as_str(), None),
    ] {
        let mut busy = Vec::new();
        for _ in 0..BUSY {
            busy.push(entered(url, &key).await?);
        }
        ways.push(Way {
            name,
            process,
            busy,
            rates: Vec::new(),
            costs: Vec::new(),
            middle: Vec::new(),
            slow: Vec::new(),
        });
    }
    // The first round warms up.
    for round in 0..=plan.rounds {
        for way in &mut ways {
            way.round(plan.messages / BUSY, round > 0).await?;
        }
    }
    report(&mut ways);
    drop(ways);
    idle("hardtack", &door, &hardtack, plan.clients, &key).await?;
    idle("bare relay", bare.said.trim(), &bare, plan.clients, &key).await
}

impl Way<'_> {
    async fn round(&mut self, each: usize, counts: bool) -> Outcome<()> {
        let cpu = |process: Option<&Process>| process.map(Process::cpu).transpose();
        let (used, began) = (cpu(self.process)?, Instant::now());
        let all = self
            .busy
            .iter_mut()
            .map(|client| client.exchange(each, WINDOW));
        for done in futures_util::future::join_all(all).await {
            done?;
        }
        let took = began.elapsed().as_secs_f64();
        // A request and its answer are two messages.
        let messages = (2 * each * self.busy.len()) as f64;
        let cost = match (used, cpu(self.process)?) {
            (Some(before), Some(after)) => Some((after - before) as f64 / 1000.0 / messages),
            _ => None,
        };
        let mut times = match self.busy.first_mut() {
            Some(client) => client.times(SINGLE).await?,
            None => Vec::new(),
        };
        if counts {
            times.sort_unstable();
            let micros = |at: usize| {
                times
                    .get(at)
                    .map_or(0.0, |t: &Duration| t.as_secs_f64() * 1e6)
            };
            self.rates.push(messages / took);
            self.costs.extend(cost);
            self.middle.push(micros(SINGLE / 2));
            self.slow.push(micros(SINGLE - SINGLE / 100));
        }
        Ok(())
    }
}

fn report(ways: &mut [Way<'_>]) {
    println!("| | messages/s | CPU a message | there and back, median | 99 of 100 |");
    println!("|---|---|---|---|---|");
    let mut costs = Vec::new();
    for way in ways {
        let cost = median(&mut way.costs);
        costs.push(cost);
        println!(
            "| {} | {:.0} | {} | {:.0} µs | {:.0} µs |",
            way.name,
            median(&mut way.rates),
            if way.process.is_some() {
                format!("{cost:.2} µs")
            } else {
                String::new()
            },
            median(&mut way.middle),
            median(&mut way.slow),
        );
    }
    if let [hardtack, bare, ..] = costs.as_slice() {
        println!("\nCPU a message: {:.2} x the bare relay's", hardtack / bare);
    }
}

/// What idle connections hold, and what they cost.
async fn idle(
    name: &str,
    url: &str,
    process: &Process,
    count: usize,
    key: &SigningKey,
) -> Outcome<()> {
    // What was freed before is not counted twice.
    let before = process.resident()?;
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let some = (0..AT_ONCE.min(count - open.len())).map(|_| entered(url, key));
        for client in futures_util::future::join_all(some).await {
            open.push(client?);
        }
    }
    sleep(Duration::from_secs(3)).await;
    let each = (process.resident()? - before) / count as f64;
    let used = process.cpu()?;
    sleep(Duration::from_secs(5)).await;
    let share = (process.cpu()? - used) as f64 / 5e7;
    println!(
        "{name}: {count} idle clients, {each:.1} KiB each ({before:.0} KiB before), {share:.1} % of a CPU"
    );
    Ok(())
}

async fn entered(url: &str, key: &SigningKey) -> Outcome<Client> {
    match client::connect(url, key).await? {
        Entry::In(client) => Ok(*client),
        Entry::Waits(id) => Err(format!("{url} does not let it in: {id}").into()),
    }
}

async fn start_relay(upstream: &str) -> Outcome<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", "--upstream", upstream]);
    Process::start(&mut command, "ws://").await
}

async fn start_hardtack(binary: &str, home: &Path, upstream: &str) -> Outcome<Process> {
    let mut command = Command::new(binary);
    command.arg("serve").env_clear().env("HOME", home);
    for listen in ["--listen", "--gateway-listen", "--openclaw-listen"] {
        command.args([listen, "127.0.0.1:0"]);
    }
    command.args(["--openclaw-upstream", upstream, "--log-level", "error"]);
    Process::start(&mut command, "hardtack ready").await
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
