//! Every way OpenRouter fails, as the caller and the ledger see it.
