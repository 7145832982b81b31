-- Who may do what: one row per right. Written by src/access.rs only.
CREATE TABLE hiems_private.access (
    grantee_kind text NOT NULL CHECK (grantee_kind IN ('role', 'user')),
    grantee      text NOT NULL CHECK (grantee <> ''),
    level        text NOT NULL CHECK (level IN ('caller', 'reader', 'admin', 'service')),
    granted_at   timestamptz NOT NULL DEFAULT now(),
    granted_by   text NOT NULL DEFAULT session_user,
    -- The role that had the name when it was given: no other has the level, whatever it is called later.
    role_oid     oid,
    PRIMARY KEY (grantee_kind, grantee, level)
);
ALTER TABLE hiems_private.access ENABLE ROW LEVEL SECURITY;
-- A dropped or renamed role's levels are left behind: where the dump is restored the name may be somebody else's.
SELECT pg_catalog.pg_extension_config_dump('hiems_private.access', $$WHERE grantee_kind = 'user'
    OR EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = role_oid AND r.rolname = grantee)$$);

-- Which principals roles have ever had: role:<name> the first one of a name, role#2:<name> the next one. Rows go by
-- them, so none is given twice, nor ever forgotten. Written by src/principals.rs only.
CREATE TABLE hiems_private.principals (
    principal text PRIMARY KEY,
    role_name text NOT NULL,
    taken_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX principals_role_name ON hiems_private.principals (role_name);
ALTER TABLE hiems_private.principals ENABLE ROW LEVEL SECURITY;
SELECT pg_catalog.pg_extension_config_dump('hiems_private.principals', '');

-- Whose they are: a role by its OID and its name. Written by src/principals.rs only.
CREATE TABLE hiems_private.principal_roles (
    principal text PRIMARY KEY,
    role_name text NOT NULL,
    role_oid  oid
);
CREATE INDEX principal_roles_role ON hiems_private.principal_roles (role_oid, role_name);
ALTER TABLE hiems_private.principal_roles ENABLE ROW LEVEL SECURITY;
-- As of the levels.
SELECT pg_catalog.pg_extension_config_dump('hiems_private.principal_roles', $$WHERE
    EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = role_oid AND r.rolname = role_name)$$);

-- OIDs are another cluster's after a restore: there the role is found by its name, as every GRANT of a dump finds it.
-- NULL, nobody, where there is no such role.
CREATE FUNCTION hiems_private.find_role_of_level() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.role_oid := (SELECT r.oid FROM pg_roles AS r WHERE NEW.grantee_kind = 'role' AND r.rolname = NEW.grantee);
    RETURN NEW;
END
$$;
CREATE TRIGGER find_role BEFORE INSERT ON hiems_private.access
    FOR EACH ROW EXECUTE FUNCTION hiems_private.find_role_of_level();
ALTER TABLE hiems_private.access ENABLE ALWAYS TRIGGER find_role;

CREATE FUNCTION hiems_private.find_role_of_principal() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.role_oid := (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = NEW.role_name);
    RETURN NEW;
END
$$;
CREATE TRIGGER find_role BEFORE INSERT ON hiems_private.principal_roles
    FOR EACH ROW EXECUTE FUNCTION hiems_private.find_role_of_principal();
ALTER TABLE hiems_private.principal_roles ENABLE ALWAYS TRIGGER find_role;
