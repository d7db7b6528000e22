//! Requests at a steady rate, and how long their answers take.
//!
//! The requests come at random moments (a Poisson process), whether or not those before
//! are answered: a request that has to wait for a free connection has that time counted
//! too, since its sender would have waited. What only the load's own clock is late
//! is not counted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Each is a thread that sends one request at a time.
const CONNECTIONS: u32 = 64;

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    nanos: Vec<u64>,
    wrong: u64,
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
pub fn load(port: u16, rate: f64, seconds: f64, head: &str) -> Outcome {
    let head = std::fs::read(head)?;
    let gap = f64::from(CONNECTIONS) / rate;
    let end = Duration::from_secs_f64(seconds);
    let began = Instant::now();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let head = &head;
        let senders: Vec<_> = (1..=u64::from(CONNECTIONS))
            .map(|number| scope.spawn(move || send(port, head, gap, began, end, number)))
            .collect();
        let joined = senders.into_iter().map(thread::ScopedJoinHandle::join);
        joined.flatten().collect::<Result<_, std::io::Error>>()
    })?;
    let wrong: u64 = seen.iter().map(|one| one.wrong).sum();
    let mut nanos: Vec<u64> = seen.into_iter().flat_map(|one| one.nanos).collect();
    nanos.sort_unstable();
    let at = |per_mille: usize| {
        let nanos = nanos.get((nanos.len() * per_mille / 1000).min(nanos.len() - 1));
        nanos.map_or(0, |nanos| nanos / 1000)
    };
    if nanos.is_empty() {
        return Err("nothing was answered".into());
    }
    println!(
        r#"{{"requests": {}, "wrong": {wrong}, "p50_us": {}, "p90_us": {}, "p99_us": {}, "p999_us": {}, "max_us": {}}}"#,
        nanos.len(),
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000),
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it sends at given times")]
fn send(
    port: u16,
    head: &[u8],
    gap: f64,
    began: Instant,
    end: Duration,
    number: u64,
) -> std::io::Result<Seen> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut seen = Seen::default();
    let mut due = Duration::ZERO;
    loop {
        due += Duration::from_secs_f64(gap * random.exponential());
        if due > end || began.elapsed() > end {
            return Ok(seen);
        }
        let now = began.elapsed();
        // Free before it was due: the moment counts when it was really sent.
        let start = if now < due {
            thread::sleep(due.saturating_sub(now));
            began.elapsed()
        } else {
            due
        };
        connection.write_all(head)?;
        let right = answer(&mut connection)?;
        let nanos = began.elapsed().saturating_sub(start).as_nanos();
        seen.nanos.push(u64::try_from(nanos).unwrap_or(u64::MAX));
        seen.wrong += u64::from(!right);
    }
}

/// Reads one answer with a `Content-Length`, or none. Says whether it is a 2xx.
fn answer(connection: &mut TcpStream) -> std::io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut read = 0;
    loop {
        let more = connection.read(buffer.get_mut(read..).unwrap_or_default())?;
        if more == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        read += more;
        let text = String::from_utf8_lossy(&buffer[..read]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let found = name.eq_ignore_ascii_case("content-length");
            found.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or_default() {
            return Ok(head.starts_with("HTTP/1.1 2"));
        }
    }
}

/// Marsaglia's xorshift64: even enough for gaps.
struct Random(u64);

impl Random {
    /// Exponentially distributed, with the mean 1.
    fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = u32::try_from(self.0 >> 32).unwrap_or(u32::MAX);
        let even = (f64::from(high) + 1.0) / (f64::from(u32::MAX) + 1.0);
        -even.ln()
    }
}
