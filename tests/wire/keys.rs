//! Keys are sealed, and never seen.
