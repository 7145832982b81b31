-- The two schemas. `hiems` holds only what a client may see even after a careless
-- GRANT ALL ON ALL TABLES/ROUTINES IN SCHEMA hiems; `hiems_private` holds the rest.
-- Nothing that somebody planted in a schema of the installer's is built into what follows.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE SCHEMA hiems;
CREATE SCHEMA hiems_private;
