-- The two schemas. `hiems` holds only what a client may see even after a careless
-- GRANT ALL ON ALL TABLES/ROUTINES IN SCHEMA hiems; `hiems_private` holds the rest.
CREATE SCHEMA hiems;
CREATE SCHEMA hiems_private;
