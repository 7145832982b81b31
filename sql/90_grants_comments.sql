-- Closed by default: nothing to PUBLIC. hiems.grant_access() opens what a level needs.
REVOKE ALL ON SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA hiems, hiems_private FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hiems, hiems_private FROM PUBLIC;
