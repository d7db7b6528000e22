-- One install: the ids, counters and flags that there is one of. `keys_mac` covers
-- all rows of the key tables: they are worth nothing without the online secret.
CREATE TABLE install (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    instance_id   BLOB    NOT NULL,
    key_check     BLOB    NOT NULL,
    announced     INTEGER NOT NULL,
    keys_version  INTEGER NOT NULL,
    keys_mac      BLOB    NOT NULL,
    feed_seq      INTEGER NOT NULL,
    event_seq     INTEGER NOT NULL,
    audit_seq     INTEGER NOT NULL,
    audit_hash    BLOB    NOT NULL,
    catalog       TEXT    NOT NULL,
    looks         INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL
) STRICT;

-- Root keys. `sealed` is the private key under the root token; NULL once replaced.
CREATE TABLE root_key (
    id          INTEGER PRIMARY KEY,
    public_key  BLOB    NOT NULL,
    sealed      BLOB,
    state       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- Attestation keys, wrapped under a key that is derived from the online secret.
CREATE TABLE attestation_key (
    id          INTEGER PRIMARY KEY,
    public_key  BLOB    NOT NULL,
    wrapped     BLOB    NOT NULL,
    state       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE pairing_request (
    id                  BLOB    PRIMARY KEY,
    device_id           BLOB    NOT NULL,
    public_key          BLOB    NOT NULL,
    role                TEXT    NOT NULL,
    scopes              TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    metadata            TEXT    NOT NULL,
    user_code           TEXT    NOT NULL,
    address             TEXT    NOT NULL,
    status              TEXT    NOT NULL,
    superseded_by       BLOB,
    grant_id            BLOB,
    reason              TEXT,
    previously_revoked  INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL
) STRICT;

-- One pending request a device: another ask supersedes it.
CREATE UNIQUE INDEX pairing_request_pending ON pairing_request (device_id) WHERE status = 'pending';
CREATE INDEX pairing_request_status ON pairing_request (status, expires_at);
CREATE INDEX pairing_request_grant ON pairing_request (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX pairing_request_code ON pairing_request (user_code);
CREATE INDEX pairing_request_device ON pairing_request (device_id);

-- Authority blocks that were minted with the root key, open and under the data key:
-- a grant on one can be given a sibling without the root key.
CREATE TABLE authority_block (
    id     BLOB PRIMARY KEY,
    chain  BLOB NOT NULL
) STRICT;

-- Grants. `chain` is the open chain under the data key, bound to the grant's id.
CREATE TABLE grant_ (
    id            BLOB    PRIMARY KEY,
    authority_id  BLOB    NOT NULL,
    parent_id     BLOB,
    device_id     BLOB,
    service       TEXT,
    role          TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    local         INTEGER NOT NULL,
    depth         INTEGER NOT NULL,
    chain         BLOB    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER
) STRICT;

-- One live grant for a device and role.
CREATE UNIQUE INDEX grant_live ON grant_ (device_id, role) WHERE status = 'active' AND device_id IS NOT NULL;
CREATE INDEX grant_device ON grant_ (device_id, role, id);

-- Service tokens, and exchanges of the root token, which end within the hour.
CREATE INDEX grant_service ON grant_ (service) WHERE service IS NOT NULL;
CREATE INDEX grant_service_end ON grant_ (expires_at) WHERE service IS NOT NULL;

-- What a service token is for. Its grant and its one session are with all others.
CREATE TABLE service_token (
    grant_id  BLOB PRIMARY KEY,
    audience  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Each grant above a grant, so that revoking touches one row however many are below.
CREATE TABLE lineage (
    grant_id     BLOB NOT NULL,
    ancestor_id  BLOB NOT NULL,
    PRIMARY KEY (grant_id, ancestor_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_ancestor ON lineage (ancestor_id, grant_id);

CREATE TABLE session (
    id          BLOB    PRIMARY KEY,
    grant_id    BLOB    NOT NULL,
    audience    TEXT    NOT NULL,
    revoked     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX session_expiry ON session (expires_at);

-- The revocation feed. `until` is when no token that contains the id can be live any more.
CREATE TABLE ended (
    seq   INTEGER PRIMARY KEY,
    id    BLOB    NOT NULL,
    kind  TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX ended_until ON ended (until);

-- Public keys that tokens are bound to, for as long as such a token lives: a token
-- names a key by its hash, and whoever introspects it is to know the key.
CREATE TABLE bound_key (
    device_id   BLOB    PRIMARY KEY,
    public_key  BLOB    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bound_key_expiry ON bound_key (expires_at);

-- Proofs of possession that were used, for as long as they could be used again.
CREATE TABLE proof (
    hash        BLOB    PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proof_expiry ON proof (expires_at);

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    prev_hash  BLOB    NOT NULL,
    hash       BLOB    NOT NULL
) STRICT;

-- What happened, for those who follow: the newest few thousand. What it happened to is
-- read where it stands.
CREATE TABLE event (
    seq   INTEGER PRIMARY KEY,
    kind  TEXT    NOT NULL,
    id    BLOB    NOT NULL
) STRICT;

-- Invites. Of the code there is only a hash; `grant_id` is what it led to.
CREATE TABLE invite (
    id          BLOB    PRIMARY KEY,
    code_hash   BLOB    NOT NULL,
    inviter     BLOB    NOT NULL,
    role        TEXT    NOT NULL,
    scopes      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    grant_life  INTEGER,
    status      TEXT    NOT NULL,
    device_id   BLOB,
    grant_id    BLOB,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX invite_code ON invite (code_hash);
CREATE INDEX invite_inviter ON invite (inviter, status);
CREATE INDEX invite_expiry ON invite (expires_at);
