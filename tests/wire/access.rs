//! Levels: who may call, read, administer.
