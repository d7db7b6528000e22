//! Tunnels between two ends in memory.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::runtime;

use super::*;

const FOREVER: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(10);
const FAREWELL: Farewell = Farewell::policy("revoked");

/// A tunnel with its client and its upstream.
fn tunnel(buffer: usize) -> (Tunnel<DuplexStream>, DuplexStream, DuplexStream) {
    let (client, client_end) = duplex(buffer);
    let (upstream, upstream_end) = duplex(buffer);
    let tunnel = Tunnel {
        client,
        upstream,
        up: Pipe::default(),
        down: Pipe::default(),
    };
    (tunnel, client_end, upstream_end)
}

/// Copies as long as something goes on.
async fn copy_while(tunnel: &mut Tunnel<DuplexStream>, event: impl Future<Output = ()>) {
    tokio::select! {
        () = tunnel.copy(FOREVER) => panic!("nobody closed"),
        done = timeout(SOON, event) => done.unwrap(),
    }
}

/// Closes while the ends send more. Gives what comes out at each.
async fn close(
    mut tunnel: Tunnel<DuplexStream>,
    (mut client, mut upstream): (DuplexStream, DuplexStream),
    (from_client, from_upstream): (&[u8], &[u8]),
) -> (Vec<u8>, Vec<u8>) {
    let (mut to_client, mut to_upstream) = (Vec::new(), Vec::new());
    let closed = async {
        tunnel.close(FAREWELL).await;
        drop(tunnel);
    };
    let client = async {
        client.write_all(from_client).await.ok();
        client.read_to_end(&mut to_client).await.unwrap();
    };
    let upstream = async {
        upstream.write_all(from_upstream).await.ok();
        upstream.read_to_end(&mut to_upstream).await.unwrap();
    };
    let all = async { tokio::join!(closed, client, upstream) };
    timeout(SOON, all).await.unwrap();
    (to_client, to_upstream)
}

#[tokio::test]
async fn a_frame_under_way_is_finished_and_no_other_begun() {
    let (mut tunnel, mut client, mut upstream) = tunnel(1024);
    copy_while(&mut tunnel, async {
        upstream.write_all(b"\x82\x0ahello").await.unwrap();
        client.read_exact(&mut [0; 7]).await.unwrap();
    })
    .await;
    let ends = (client, upstream);
    let sent = (&b"\x81\x80mask"[..], &b"world\x81\x05never"[..]);
    let (to_client, to_upstream) = close(tunnel, ends, sent).await;
    assert_eq!(to_client, [&b"world"[..], &FAREWELL.unmasked()].concat());
    assert_eq!(to_upstream, FAREWELL.masked());
}

#[tokio::test]
async fn nothing_more_is_taken_from_the_client() {
    let (mut tunnel, mut client, mut upstream) = tunnel(1024);
    copy_while(&mut tunnel, async {
        client.write_all(b"\x82\x8amaskhello").await.unwrap();
        upstream.read_exact(&mut [0; 11]).await.unwrap();
    })
    .await;
    let ends = (client, upstream);
    let (to_client, to_upstream) = close(tunnel, ends, (b"world", b"")).await;
    assert_eq!(to_client, FAREWELL.unmasked());
    assert_eq!(to_upstream, b"");
}

#[tokio::test]
async fn what_is_held_back_by_a_slow_client_is_cut_at_the_end_of_a_frame() {
    let (mut tunnel, mut client, mut upstream) = tunnel(8);
    let mut first = [0; 3];
    copy_while(&mut tunnel, async {
        // More than the client's buffer takes, so that the tunnel holds the rest.
        let frames = b"\x82\x0ahelloworld\x81\x05never";
        upstream.write_all(frames).await.unwrap();
        client.read_exact(&mut first).await.unwrap();
    })
    .await;
    let (to_client, _) = close(tunnel, (client, upstream), (b"", b"")).await;
    let all = [&first[..], &to_client].concat();
    let farewell = FAREWELL.unmasked();
    let frames = all.strip_suffix(&farewell[..]).unwrap();
    let whole: [&[u8]; 2] = [b"\x82\x0ahelloworld", b"\x82\x0ahelloworld\x81\x05never"];
    assert!(whole.contains(&frames), "{frames:?}");
}

#[tokio::test]
async fn who_was_told_already_is_not_told_again() {
    let (mut tunnel, mut client, mut upstream) = tunnel(1024);
    let (mut to_client, mut to_upstream) = ([0; 4], [0; 6]);
    copy_while(&mut tunnel, async {
        upstream.write_all(b"\x88\x02\x03\xe8").await.unwrap();
        client.read_exact(&mut to_client).await.unwrap();
        client.write_all(b"\x88\x80mask").await.unwrap();
        upstream.read_exact(&mut to_upstream).await.unwrap();
    })
    .await;
    let (to_client, to_upstream) = close(tunnel, (client, upstream), (b"", b"")).await;
    assert_eq!((&*to_client, &*to_upstream), (&b""[..], &b""[..]));
}

#[tokio::test]
async fn a_half_open_socket_ends() {
    for client_leaves in [true, false] {
        let (mut tunnel, mut client, mut upstream) = tunnel(1024);
        let (leaving, staying) = if client_leaves {
            (&mut client, &mut upstream)
        } else {
            (&mut upstream, &mut client)
        };
        leaving.write_all(b"last").await.unwrap();
        leaving.shutdown().await.unwrap();
        let copied = tunnel.copy(Duration::from_millis(1));
        timeout(SOON, copied).await.unwrap();
        let mut seen = Vec::new();
        staying.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"last");
    }
}

#[tokio::test]
async fn an_idle_tunnel_holds_no_buffer() {
    let (mut tunnel, mut client, mut upstream) = tunnel(64);
    copy_while(&mut tunnel, async {
        let bytes = vec![1; 10_000];
        let write = client.write_all(&bytes);
        let mut read = vec![0; bytes.len()];
        let (written, _) = tokio::join!(write, upstream.read_exact(&mut read));
        written.unwrap();
    })
    .await;
    assert_eq!(
        (tunnel.up.rest.capacity(), tunnel.down.rest.capacity()),
        (0, 0)
    );
}

/// Sends and receives at once, in pieces.
async fn exchange(end: DuplexStream, sent: &[u8], piece: usize) -> Vec<u8> {
    let (mut reading, mut writing) = tokio::io::split(end);
    let write = async {
        for piece in sent.chunks(piece) {
            writing.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        writing.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(reading.read_to_end(&mut received), write);
    read.unwrap();
    received
}

proptest! {
    /// Whatever the bytes are, frames or not, and whoever is slow.
    #[test]
    fn bytes_pass_unchanged_in_both_directions(
        down in prop::collection::vec(any::<u8>(), 0..20_000),
        up in prop::collection::vec(any::<u8>(), 0..20_000),
        pieces in (1_usize..5000, 1_usize..5000),
        buffer in 1_usize..40_000,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (to_client, to_upstream, ()) = runtime.block_on(async {
            let (mut tunnel, client, upstream) = tunnel(buffer);
            let all = async {
                tokio::join!(
                    exchange(client, &up, pieces.0),
                    exchange(upstream, &down, pieces.1),
                    tunnel.copy(FOREVER),
                )
            };
            timeout(FOREVER, all).await.unwrap()
        });
        prop_assert!(to_client == down && to_upstream == up);
    }
}
