//! The SQL of README.md works as it stands there.
