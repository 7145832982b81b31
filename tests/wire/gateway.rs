//! The gateway starts once, leaves when idle, and recovers.
