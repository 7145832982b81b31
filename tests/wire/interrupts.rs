//! Every wait can be cancelled.
