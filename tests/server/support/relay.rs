//! A proxy before the API, as an ingress or a tunnel: what comes through it
//! comes from afar.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use super::http::authority;
use super::wire::Head;

/// The address that the relay says its clients have.
pub(crate) const AFAR: &str = "203.0.113.9";

/// Starts a relay to a server; its URL.
pub(crate) fn relay(url: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let server = authority(url).to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, server) = (stream.unwrap(), server.clone());
            std::thread::spawn(move || forward(stream, &server).unwrap());
        }
    });
    own
}

/// Passes one request on, and its answer back.
fn forward(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut from = BufReader::new(client.try_clone()?);
    let Some(head) = Head::read(&mut from)? else {
        return Ok(());
    };
    let mut server = TcpStream::connect(server)?;
    let mut lines = vec![head.first.clone()];
    let kept = head.headers.iter().filter(|(name, _)| name != "connection");
    lines.extend(kept.map(|(name, value)| format!("{name}: {value}")));
    lines.extend([
        format!("x-forwarded-for: {AFAR}"),
        format!("forwarded: for={AFAR}"),
        "x-forwarded-proto: https".to_owned(),
        "connection: close".to_owned(),
    ]);
    server.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes())?;
    head.read_body(&mut from, false, |part| server.write_all(part))?;
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}
