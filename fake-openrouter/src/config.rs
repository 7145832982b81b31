//! What a caller can set before the server starts. Per-request behaviour is in `control`.

use std::time::Duration;

/// How the fake listens and behaves by default.
#[derive(Clone, Debug)]
pub struct Config {
    /// TCP port on 127.0.0.1; 0 lets the system choose.
    pub port: u16,
    /// Seed of token counts, prices' random part and texts. Ids are unique whatever the seed.
    pub seed: u64,
    /// Keys that are let in; empty means any key that starts with `sk-or-`. Those that start with
    /// `sk-or-v1-mgmt-` are management keys, which account for everything and generate nothing.
    pub accepted_keys: Vec<String>,
    /// Time between headers and body when the request does not name one.
    pub default_delay: Duration,
    /// How long a finished generation still answers 404 on `/generation`.
    pub generation_lag: Duration,
    /// HTTPS, with a certificate by the authority that `Fake::ca_pem` gives.
    pub tls: bool,
    /// What the account ever bought, in dollars, as a literal number token.
    pub total_credits: String,
    /// `/credits` answers a normal key with zeros at status 200, as it sometimes does, not with 403.
    pub zero_credits: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 1,
            accepted_keys: Vec::new(),
            default_delay: Duration::ZERO,
            generation_lag: Duration::ZERO,
            tls: false,
            total_credits: "100".to_owned(),
            zero_credits: false,
        }
    }
}
