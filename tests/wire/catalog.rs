//! What the catalog says: comments on everything, nothing to PUBLIC.
