-- One install: the ids, counters and flags that there is one of. `keys_mac` covers
-- all rows of the key tables: they are worth nothing without the online secret.
CREATE TABLE install (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    instance_id   UUID    NOT NULL,
    key_check     BYTEA    NOT NULL,
    announced     BOOLEAN NOT NULL,
    keys_version  BIGINT NOT NULL,
    keys_mac      BYTEA NOT NULL,
    feed_seq      BIGINT NOT NULL,
    event_seq     BIGINT NOT NULL,
    audit_seq     BIGINT NOT NULL,
    audit_hash    BYTEA    NOT NULL,
    catalog       TEXT    NOT NULL,
    looks         BIGINT  NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL
);

-- Root keys. `sealed` is the private key under the root token; NULL once replaced.
CREATE TABLE root_key (
    id          BIGINT PRIMARY KEY,
    public_key  BYTEA    NOT NULL,
    sealed      BYTEA,
    state       TEXT    NOT NULL,
    created_at  BIGINT NOT NULL
);

-- Attestation keys, wrapped under a key that is derived from the online secret.
CREATE TABLE attestation_key (
    id          BIGINT PRIMARY KEY,
    public_key  BYTEA    NOT NULL,
    wrapped     BYTEA    NOT NULL,
    state       TEXT    NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE pairing_request (
    id                  UUID    PRIMARY KEY,
    device_id           BYTEA    NOT NULL,
    public_key          BYTEA    NOT NULL,
    role                TEXT    NOT NULL,
    scopes              TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    metadata            TEXT    NOT NULL,
    user_code           TEXT    NOT NULL,
    address             TEXT    NOT NULL,
    status              TEXT    NOT NULL,
    superseded_by       UUID,
    grant_id            UUID,
    reason              TEXT,
    previously_revoked  BOOLEAN NOT NULL,
    created_at          BIGINT NOT NULL,
    expires_at          BIGINT NOT NULL
);

-- One pending request a device: another ask supersedes it.
CREATE UNIQUE INDEX pairing_request_pending ON pairing_request (device_id) WHERE status = 'pending';
CREATE INDEX pairing_request_status ON pairing_request (status, expires_at);
CREATE INDEX pairing_request_grant ON pairing_request (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX pairing_request_code ON pairing_request (user_code);
CREATE INDEX pairing_request_device ON pairing_request (device_id);

-- Authority blocks that were minted with the root key, open and under the data key:
-- a grant on one can be given a sibling without the root key.
CREATE TABLE authority_block (
    id     UUID  PRIMARY KEY,
    chain  BYTEA NOT NULL
);

-- Grants. `chain` is the open chain under the data key, bound to the grant's id.
CREATE TABLE grant_ (
    id            UUID    PRIMARY KEY,
    authority_id  UUID    NOT NULL,
    parent_id     UUID,
    device_id     BYTEA,
    service       TEXT,
    role          TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    local         BOOLEAN NOT NULL,
    depth         BIGINT NOT NULL,
    chain         BYTEA    NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT
);

-- One live grant for a device and role.
CREATE UNIQUE INDEX grant_live ON grant_ (device_id, role) WHERE status = 'active' AND device_id IS NOT NULL;
CREATE INDEX grant_device ON grant_ (device_id, role, id);

-- Service tokens, and exchanges of the root token, which end within the hour.
CREATE INDEX grant_service ON grant_ (service) WHERE service IS NOT NULL;
CREATE INDEX grant_service_end ON grant_ (expires_at) WHERE service IS NOT NULL;

-- What a service token is for. Its grant and its one session are with all others.
CREATE TABLE service_token (
    grant_id  UUID PRIMARY KEY,
    audience  TEXT NOT NULL
);

-- Each grant above a grant, so that revoking touches one row however many are below.
CREATE TABLE lineage (
    grant_id     UUID NOT NULL,
    ancestor_id  UUID NOT NULL,
    PRIMARY KEY (grant_id, ancestor_id)
);
CREATE INDEX lineage_ancestor ON lineage (ancestor_id, grant_id);

CREATE TABLE session (
    id          UUID    PRIMARY KEY,
    grant_id    UUID    NOT NULL,
    audience    TEXT    NOT NULL,
    revoked     BOOLEAN NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX session_expiry ON session (expires_at);

-- The revocation feed. `until` is when no token that contains the id can be live any more.
CREATE TABLE ended (
    seq   BIGINT PRIMARY KEY,
    id    UUID    NOT NULL,
    kind  TEXT    NOT NULL,
    at    BIGINT NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX ended_until ON ended (until);

-- Public keys that tokens are bound to, for as long as such a token lives: a token
-- names a key by its hash, and whoever introspects it is to know the key.
CREATE TABLE bound_key (
    device_id   BYTEA    PRIMARY KEY,
    public_key  BYTEA    NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX bound_key_expiry ON bound_key (expires_at);

-- Proofs of possession that were used, for as long as they could be used again.
CREATE TABLE proof (
    hash        BYTEA    PRIMARY KEY,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX proof_expiry ON proof (expires_at);

CREATE TABLE audit (
    seq        BIGINT PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor      TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    prev_hash  BYTEA    NOT NULL,
    hash       BYTEA    NOT NULL
);

-- What happened, for those who follow: the newest few thousand. What it happened to is
-- read where it stands.
CREATE TABLE event (
    seq   BIGINT PRIMARY KEY,
    kind  TEXT   NOT NULL,
    id    UUID   NOT NULL
);

-- Invites. Of the code there is only a hash; `grant_id` is what it led to.
CREATE TABLE invite (
    id          UUID   PRIMARY KEY,
    code_hash   BYTEA  NOT NULL,
    inviter     UUID   NOT NULL,
    role        TEXT   NOT NULL,
    scopes      TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    grant_life  BIGINT,
    status      TEXT   NOT NULL,
    device_id   BYTEA,
    grant_id    UUID,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX invite_code ON invite (code_hash);
CREATE INDEX invite_inviter ON invite (inviter, status);
CREATE INDEX invite_expiry ON invite (expires_at);
