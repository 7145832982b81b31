-- The two schemas. `hiems` holds only what a client may see even after a careless
-- GRANT ALL ON ALL TABLES/ROUTINES IN SCHEMA hiems; `hiems_private` holds the rest.
-- Nothing that somebody planted in a schema of the installer's is built into what follows.
SET LOCAL search_path TO pg_catalog, pg_temp;

DO $$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'hiems needs a database with the encoding UTF8' USING
            ERRCODE = '0A000',
            DETAIL = format('This one has %s, which cannot hold every answer.', getdatabaseencoding()),
            HINT = 'CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

CREATE SCHEMA hiems;
CREATE SCHEMA hiems_private;
