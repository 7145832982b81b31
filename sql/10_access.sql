-- Who may do what: one row per right. Written by src/access.rs only.
CREATE TABLE hiems_private.access (
    grantee_kind text NOT NULL CHECK (grantee_kind IN ('role', 'user')),
    grantee      text NOT NULL CHECK (grantee <> ''),
    level        text NOT NULL CHECK (level IN ('caller', 'reader', 'admin', 'service')),
    granted_at   timestamptz NOT NULL DEFAULT now(),
    granted_by   text NOT NULL DEFAULT session_user,
    PRIMARY KEY (grantee_kind, grantee, level)
);
ALTER TABLE hiems_private.access ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.access', '');
