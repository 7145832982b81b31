//! Listeners are told of new rows.
