-- The OpenRouter keys, sealed by AES-256-GCM (src/vault/seal.rs). Written by src/keys.rs only.

-- Part of what a sealed key is bound to. Made when the first key is stored, not here: a restore
-- brings its own row.
CREATE TABLE hiems_private.installation (
    id        uuid NOT NULL,
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
ALTER TABLE hiems_private.installation ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.installation', '');

CREATE TABLE hiems_private.api_keys (
    name        text PRIMARY KEY CHECK (name <> ''),
    kind        text NOT NULL CHECK (kind IN ('inference', 'management')),
    version     integer NOT NULL,
    nonce       bytea NOT NULL,
    ciphertext  bytea NOT NULL,
    fingerprint text NOT NULL,
    master_key  text NOT NULL,
    -- The database that it is sealed for, as the seal says, too: in a copy, or after a restore, another one.
    database_oid bigint NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    stored_by   text NOT NULL DEFAULT session_user,
    sealed_at   timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE hiems_private.api_keys ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.api_keys', '');
