//! The gateway over real sockets, in front of real upstreams.

mod addresses;
mod allowed;
mod client;
mod ends;
mod events;
#[cfg(feature = "envoy")]
mod ext_authz;
mod failures;
mod forward_auth;
mod http2;
mod http2_frames;
mod http2_upstream;
mod paths;
mod proofs;
mod refused;
mod sockets;
mod streams;
mod support;
mod tls;
mod trailers;
mod upstreams;
mod websocket;
mod wire;
