//! The servers that hardtack is measured against: each does the same work with the
//! same libraries, and decides nothing. See `scripts/bench`.
//!
//! ```text
//! bare empty                              204 to everything, with axum
//! bare proxy HOST:PORT                    a reverse proxy, with hyper
//! bare authz                              Envoy's ext_authz that allows everything, with tonic
//! bare upstream                           a short answer to everything
//! bare paced PORT RATE SECONDS HEAD-FILE  requests at a steady rate; their latencies as JSON
//! ```
//!
//! A server listens on loopback, at a port of the system's choosing, which is the
//! first line that it prints.

mod authz;
mod empty;
mod paced;
mod proxy;
mod upstream;

use std::error::Error;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["empty"] => run(empty::serve()),
        ["proxy", upstream] => run(proxy::serve(upstream.parse()?)),
        ["authz"] => run(authz::serve()),
        ["upstream"] => run(upstream::serve()),
        ["paced", port, rate, seconds, head] => {
            paced::load(port.parse()?, rate.parse()?, seconds.parse()?, head)
        }
        _ => Err("say what: empty, proxy, authz, upstream or paced (see main.rs)".into()),
    }
}

/// As `#[tokio::main]` does: a thread for each processor that it may use.
fn run(server: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(server)
}

async fn listener() -> Result<TcpListener, std::io::Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    Ok(listener)
}
