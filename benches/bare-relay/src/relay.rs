//! The relay to compare with: every message is passed on, none is looked at.

use futures_util::{SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, client_async};

use crate::Outcome;

pub(crate) async fn serve(upstream: &str) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ws://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let upstream = upstream.to_owned();
        tokio::spawn(async move {
            // Either side that ends ends both.
            connection(stream, &upstream).await.ok();
        });
    }
}

async fn connection(stream: TcpStream, upstream: &str) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let client = accept_async(stream).await?;
    let address = upstream.strip_prefix("ws://").ok_or("no ws URL")?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (upstream, _) = client_async(upstream, stream).await?;
    let (mut to_client, from_client) = client.split();
    let (mut to_upstream, from_upstream) = upstream.split();
    tokio::select! {
        done = pass(from_client, &mut to_upstream) => done?,
        done = pass(from_upstream, &mut to_client) => done?,
    }
    Ok(())
}

async fn pass(
    mut from: impl Stream<Item = Result<Message, Error>> + Unpin,
    to: &mut (impl SinkExt<Message, Error = Error> + Unpin),
) -> Result<(), Error> {
    while let Some(message) = from.next().await {
        to.send(message?).await?;
    }
    Ok(())
}
