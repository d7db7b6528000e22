//! The stable codes of refusals, at all doors. `docs/errors.md` is made of them.

use hardtack_token::Denial;
use http::StatusCode;

macro_rules! codes {
    ($($name:ident $status:ident $text:literal $title:literal, $meaning:literal;)*) => {
        /// A stable code with its status. One word may stand for two of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word that callers go by.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status at `/v1` and at the gateway.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What it is called where the API says it.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means and what to do.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    InvalidRequest BAD_REQUEST "invalid_request" "Invalid request", "The request does not read: an unknown member, a value that is none, two headers where one is expected. `detail` says which.";
    UnknownScope BAD_REQUEST "unknown_scope" "Unknown scope", "The policy declares no such scope. `GET /v1/scopes` lists those it declares.";
    InvalidScope BAD_REQUEST "invalid_scope" "Scope refused", "The token does not give a scope that was asked for. Ask for less; `hardtack whoami` says what there is.";
    InvalidTarget BAD_REQUEST "invalid_target" "Audience refused", "The audience is no http(s) origin, is not the only one, or is another than the token's own.";
    UnsupportedGrantType BAD_REQUEST "unsupported_grant_type" "Grant type not offered", "The token endpoint does not offer this `grant_type`. The metadata lists those it offers.";
    DuplicateAuthorization BAD_REQUEST "duplicate_authorization" "More than one credential", "Two credentials came in `Authorization`. Send one.";
    AmbiguousPath BAD_REQUEST "ambiguous_path" "The path can be read in several ways", "The path has `..`, `//`, an escaped slash or the like. Send the one that is meant.";
    DeviceCodeUnknown BAD_REQUEST "unknown_device_code" "No token for this device code", "There is no such device code. Ask for another at `/oauth/device_authorization`.";
    AuthorizationPending BAD_REQUEST "authorization_pending" "No token for this device code", "Nobody has answered yet. Ask again after `interval` seconds.";
    SlowDown BAD_REQUEST "slow_down" "No token for this device code", "Asked too soon. Wait five seconds more between polls.";
    AccessDenied BAD_REQUEST "access_denied" "No token for this device code", "The request was rejected, perhaps with a reason.";
    ExpiredToken BAD_REQUEST "expired_token" "No token for this device code", "The request ended unanswered. Ask for another device code.";
    MissingToken UNAUTHORIZED "missing_token" "Not authenticated", "No credential came with the request. Pair the device, then exchange its grant for a token.";
    MalformedToken UNAUTHORIZED "malformed_token" "Not authenticated", "This is no token, or not in its one canonical form, or longer than 6 KiB.";
    OutsideProfile UNAUTHORIZED "outside_profile" "Not authenticated", "A Biscuit with something in it that the token profile does not have.";
    UnknownKey UNAUTHORIZED "unknown_key" "Not authenticated", "Signed by a key that is not in force here: of another install, or of a time before a reset.";
    BadSignature UNAUTHORIZED "bad_signature" "Not authenticated", "A signature does not fit: a block was changed or moved.";
    NotActivated UNAUTHORIZED "not_activated" "Not authenticated", "The token's session is of another grant than the last one in it.";
    GrantNotAccepted UNAUTHORIZED "grant_not_accepted" "Not authenticated", "A grant where an access token is needed. Exchange it.";
    RootTokenNotAccepted UNAUTHORIZED "root_token_not_accepted" "Root token not accepted", "The root token is for approving and for exchange only. Exchange it for a session.";
    WrongRootToken UNAUTHORIZED "wrong_root_token" "Root token refused", "A root token that is not the one in force: another was made since.";
    Expired UNAUTHORIZED "expired" "Not authenticated", "The token, or a grant in it, is past its end. Exchange the grant again; if it ended, pair again.";
    Revoked UNAUTHORIZED "revoked" "Not authenticated", "A grant or session of the token was revoked. Pair again.";
    Retired UNAUTHORIZED "retired" "Not authenticated", "The grant was retired: replaced by another, ended, or idle for 90 days. Pair again.";
    UnknownGrant UNAUTHORIZED "unknown_grant" "Grant not known", "The database has no such grant: it is of another install, or newer than a restored backup. Pair again.";
    WrongHolder UNAUTHORIZED "wrong_holder" "Not authenticated", "The token is bound to a key, and no proof of that key came with it.";
    WrongKey UNAUTHORIZED "wrong_key" "Proof of another key", "The proof is of another key than the grant's device has.";
    ProofRequired UNAUTHORIZED "proof_required" "Proof required", "A device's key must be proven with a `DPoP` header, or where it is offered with a `client_assertion`.";
    InvalidProof UNAUTHORIZED "invalid_proof" "Proof refused", "The proof does not fit the request, is too old, was used before, or does not read. `detail` says which; a wrong clock is the usual reason.";
    UseDpopNonce UNAUTHORIZED "use_dpop_nonce" "Nonce required", "Make the proof again with the nonce in the `DPoP-Nonce` header.";
    InvalidClient UNAUTHORIZED "invalid_client" "Client refused", "The client assertion is refused. `detail` says why.";
    MissingClient UNAUTHORIZED "missing_client" "Client not known", "The endpoint is not for everybody, and nothing says who asks.";
    WrongClient UNAUTHORIZED "wrong_client" "Another client", "`client_id` is not the client that the credential belongs to.";
    ServiceTokenRequired UNAUTHORIZED "service_token_required" "Service token required", "A narrowed copy of a service token came where the token itself is needed: as `client_id` and `client_secret`.";
    InsufficientScope FORBIDDEN "insufficient_scope" "Insufficient scope", "The caller holds less than this needs. `required`, `held`, `missing`, `who` and `next` say how to get on.";
    GrantRequired FORBIDDEN "grant_required" "Grant required", "What makes or promises authority takes a grant with proof of its key; an access token is not enough.";
    LocalDevice FORBIDDEN "local_device" "Not allowed", "Only the local device itself or the root token ends the local device.";
    InvalidInvite FORBIDDEN "invalid_invite" "No such invite", "There is no invite with this code. Look whether it was copied whole.";
    WrongAudience FORBIDDEN "wrong_audience" "Not allowed", "The token is for another audience. Exchange the grant for one for this.";
    CaveatMethod FORBIDDEN "caveat_method" "Not allowed", "The token was narrowed to other methods.";
    CaveatPath FORBIDDEN "caveat_path" "Not allowed", "The token was narrowed to other paths.";
    CaveatOperation FORBIDDEN "caveat_operation" "Not allowed", "The token was narrowed to other operations.";
    NoRoute FORBIDDEN "no_route" "The policy does not allow this", "No `route` of the policy matches the request, so nobody may send it.";
    DeniedByPolicy FORBIDDEN "denied_by_policy" "The policy does not allow this", "A `deny` of the policy matches the request.";
    ProxyNotTrusted FORBIDDEN "proxy_not_trusted" "The proxy is not known", "Forward-auth is for proxies of `--trusted-proxy` alone, and this peer is none.";
    NotFound NOT_FOUND "not_found" "Not found", "There is nothing here, or nothing that this caller may know of.";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed", "The path takes other methods.";
    RequestTimeout REQUEST_TIMEOUT "request_timeout" "The request took too long", "The request's body did not arrive in time.";
    NotPending CONFLICT "not_pending" "Not pending", "The pairing request was answered, or superseded: `request_status`, `superseded_by` and `grant_id` say what became of it.";
    ServiceExists CONFLICT "service_exists" "The name is taken", "There is a live service token of this name. Revoke it first, or take another name.";
    Conflict CONFLICT "conflict" "Somebody was faster", "Something that there can be one of was made at the same moment. Look, and ask again.";
    RequestExpired GONE "expired" "Expired", "Nobody answered the pairing request in time. The device must ask again.";
    InviteSpent GONE "invite_spent" "This invite gives nothing", "The invite was used already. If it was not by you, whoever invited you should know.";
    InviteExpired GONE "invite_expired" "This invite gives nothing", "Nobody brought the invite in time. Ask for another.";
    InviteEnded GONE "invite_ended" "This invite gives nothing", "The invite was taken back, or whoever made it can no longer give what it promises.";
    TooLarge PAYLOAD_TOO_LARGE "too_large" "Too large", "The request's body is over 64 KiB.";
    WiderThanRequested UNPROCESSABLE_ENTITY "wider_than_requested" "Wider than requested", "An approval may give fewer scopes than were asked for, never more.";
    WiderThanInvite UNPROCESSABLE_ENTITY "wider_than_invite" "Wider than the invite", "The invite does not promise this. Ask for less, or leave `scopes` out.";
    ChainTooLong UNPROCESSABLE_ENTITY "chain_too_long" "Chain too long", "At most four grants follow each other. Let somebody nearer to the root approve.";
    NoBackup UNPROCESSABLE_ENTITY "no_backup" "Backed up elsewhere", "PostgreSQL is backed up by its own means, such as `pg_dump`.";
    TooManyRequests TOO_MANY_REQUESTS "too_many_requests" "Too many requests", "Too often, from one address, with one key or for one request. `Retry-After` says when to come back.";
    Internal INTERNAL_SERVER_ERROR "internal" "Internal error", "A fault of this program or of its database. The log has it under the request id.";
    UpstreamFailed BAD_GATEWAY "upstream_failed" "The upstream failed", "The upstream could not be reached, or did not answer in HTTP.";
    NoUpstream SERVICE_UNAVAILABLE "no_upstream" "There is no upstream", "The request is allowed, and the gateway has no upstream: `hardtack serve --upstream URL`.";
    RevocationsStale SERVICE_UNAVAILABLE "revocations_stale" "Cannot decide now", "The node could not read the revocations for five seconds, and allows nothing until it can.";
    NotReady SERVICE_UNAVAILABLE "not_ready" "Not ready", "The node has just started, or the online secret was changed and the new one is not here.";
    StoreUnavailable SERVICE_UNAVAILABLE "store_unavailable" "The database cannot be used", "The database does not answer, or cannot be written: full, read-only, or held by somebody.";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "Too busy", "The node has 512 requests under way. Come back after `Retry-After`.";
    TimedOut SERVICE_UNAVAILABLE "timed_out" "Took too long", "The request took over 20 seconds. Look whether it was done before it is sent again.";
    UpstreamTimeout GATEWAY_TIMEOUT "upstream_timeout" "The upstream took too long", "The upstream did not answer in time.";
}

impl From<&Denial> for Code {
    fn from(denial: &Denial) -> Self {
        match denial {
            Denial::MissingToken => Self::MissingToken,
            Denial::Malformed(_) => Self::MalformedToken,
            Denial::OutsideProfile(_) => Self::OutsideProfile,
            Denial::UnknownKey(_) => Self::UnknownKey,
            Denial::RootTokenNotAccepted => Self::RootTokenNotAccepted,
            Denial::BadSignature { .. } => Self::BadSignature,
            Denial::GrantNotAccepted => Self::GrantNotAccepted,
            Denial::NotActivated => Self::NotActivated,
            Denial::RevocationsStale { .. } => Self::RevocationsStale,
            Denial::Revoked => Self::Revoked,
            Denial::Retired => Self::Retired,
            Denial::Expired(_) => Self::Expired,
            Denial::WrongHolder => Self::WrongHolder,
            Denial::WrongAudience { .. } => Self::WrongAudience,
            Denial::CaveatMethod => Self::CaveatMethod,
            Denial::CaveatPath => Self::CaveatPath,
            Denial::CaveatOperation => Self::CaveatOperation,
            Denial::InsufficientScope { .. } => Self::InsufficientScope,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fmt::Write as _;

    use super::*;

    const BEFORE: &str = include_str!("errors_head.md");
    const PAGE: &str = "docs/errors.md";

    /// The page as the code has it.
    fn page() -> String {
        let mut page = BEFORE.to_owned();
        for code in Code::ALL {
            let status = code.status().as_u16();
            let (text, meaning) = (code.as_str(), code.meaning());
            writeln!(page, "| `{text}` | {status} | {meaning} |").unwrap();
        }
        page
    }

    #[test]
    fn the_page_of_errors_is_the_code_s() {
        let page = page();
        if std::env::var_os("HARDTACK_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        let written = std::fs::read_to_string(PAGE).unwrap();
        let how = "run HARDTACK_WRITE_DOCS=1 cargo test --lib page_of_errors";
        assert!(written == page, "{PAGE} is not what the code says: {how}");
    }

    #[test]
    fn a_code_has_one_row_for_each_status() {
        let rows: HashSet<_> = Code::ALL.iter().map(|c| (c.as_str(), c.status())).collect();
        assert_eq!(rows.len(), Code::ALL.len());
    }

    #[test]
    fn the_verifier_s_codes_and_statuses_are_these() {
        use hardtack_token::DenialKind;
        for denial in [
            Denial::MissingToken,
            Denial::Revoked,
            Denial::WrongHolder,
            Denial::CaveatMethod,
            Denial::NotActivated,
        ] {
            let code = Code::from(&denial);
            assert_eq!(code.as_str(), denial.code());
            let status = match denial.kind() {
                DenialKind::Unauthenticated => StatusCode::UNAUTHORIZED,
                DenialKind::Forbidden => StatusCode::FORBIDDEN,
                DenialKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            };
            assert_eq!(code.status(), status);
        }
    }
}
