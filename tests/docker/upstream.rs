//! The sample upstream where no registry is reachable: it answers with the
//! request that it was sent. Built by `scripts/docker-e2e` with `rustc` alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let port = std::env::var("WHOAMI_PORT_NUMBER").unwrap_or_else(|_| "80".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    for connection in listener.incoming() {
        // A client that goes away is no reason to end.
        connection.and_then(answer).ok();
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut head = String::new();
    for line in BufReader::new(&connection).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.extend([&line, "\n"]);
    }
    let length = head.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{head}"
    )
}
