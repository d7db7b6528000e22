//! What a WebSocket relay costs at least, and what hardtack's door for OpenClaw's
//! clients costs beside it, in one run: see `scripts/measure-openclaw`.
//!
//! ```text
//! bare-relay relay --upstream ws://HOST:PORT          the relay: prints its URL, decides nothing
//! bare-relay measure --hardtack BINARY [--clients N] [--messages N] [--rounds N]
//! ```

mod client;
mod gateway;
mod measure;
mod process;
mod relay;

use std::error::Error;

/// Whatever goes wrong ends the measurement.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The value of a flag.
fn flag(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.next()?;
    args.next()
}

fn number(name: &str, default: usize) -> Outcome<usize> {
    Ok(flag(name).map_or(Ok(default), |text| text.parse())?)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("relay") => relay::serve(&flag("--upstream").ok_or("--upstream is missing")?).await,
        Some("measure") => {
            measure::run(&measure::Plan {
                hardtack: flag("--hardtack").ok_or("--hardtack is missing")?,
                clients: number("--clients", 5000)?,
                messages: number("--messages", 40_000)?,
                rounds: number("--rounds", 7)?,
            })
            .await
        }
        _ => Err("say `relay` or `measure`".into()),
    }
}
