//! The other end of a connection, and what is believed of what it says.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::web::listener::Came;

/// The header by which proxies say how the client reached them.
pub(crate) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The header by which proxies name the clients before them.
pub(crate) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The TCP peer of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether it is a proxy of ours, whose forwarding headers are believed.
    pub(crate) trusted: bool,
    /// Whether the connection is encrypted up to here.
    pub(crate) over_tls: bool,
}

impl Peer {
    pub(crate) fn new(came: Came, proxies: &[IpNet]) -> Self {
        // `::ffff:10.0.0.1` is `10.0.0.1` on a socket that serves both families.
        let address = came.from.to_canonical();
        Self {
            address,
            over_tls: came.over_tls,
            trusted: is_proxy(address, proxies),
        }
    }

    /// The client: the last address that no proxy of ours put there.
    pub(crate) fn client(self, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
        if !self.trusted {
            return self.address;
        }
        let hops = headers.get_all(&X_FORWARDED_FOR).iter().rev();
        let hops = hops
            .map_while(|value| value.to_str().ok())
            .flat_map(|list| list.rsplit(','))
            .map_while(|hop| hop.trim().parse::<IpAddr>().ok());
        let mut client = self.address;
        for hop in hops {
            client = hop.to_canonical();
            if !is_proxy(client, proxies) {
                break;
            }
        }
        client
    }

    /// The scheme by which the client came to here, if no proxy says another.
    pub(crate) const fn scheme(self) -> &'static str {
        if self.over_tls { "https" } else { "http" }
    }

    /// Whether the request came over plain HTTP from another host: what it
    /// carried could have been read on the way.
    pub(crate) fn is_exposed(self, headers: &HeaderMap, proxies: &[IpNet]) -> bool {
        let proto = headers.get(&X_FORWARDED_PROTO).map(HeaderValue::as_bytes);
        let proto = proto.filter(|_| self.trusted);
        let over_tls = proto.map_or(self.over_tls, |proto| proto == b"https");
        !over_tls && !self.client(headers, proxies).is_loopback()
    }
}

fn is_proxy(address: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(&X_FORWARDED_FOR, value.parse().unwrap());
        }
        let peer = Peer::new(Came::plain(peer.parse().unwrap()), &proxies);
        peer.client(&headers, &proxies).to_string()
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_no_proxy_of_ours() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["6.6.6.6"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.7, 10.0.0.9"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.9"], "10.0.0.9"),
            ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn plain_http_from_another_host_is_exposed() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let exposed_over = |over_tls: bool, from: &str, proto: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&X_FORWARDED_PROTO, proto.parse().unwrap());
            let from = from.parse().unwrap();
            Peer::new(Came { from, over_tls }, &proxies).is_exposed(&headers, &proxies)
        };
        let exposed = |from: &str, proto: &str| exposed_over(false, from, proto);
        assert!(!exposed("127.0.0.1", "http") && !exposed("::1", "http"));
        assert!(exposed("192.0.2.1", "http") && exposed("192.0.2.1", "https"));
        assert!(exposed("10.0.0.1", "http") && !exposed("10.0.0.1", "https"));
        // Encrypted up to here; what was before a proxy of ours is its to say.
        assert!(!exposed_over(true, "192.0.2.1", "http"));
        assert!(exposed_over(true, "10.0.0.1", "http"));
    }
}
