//! What the tests stand on: a PostgreSQL server of their own, a database of its own for each test with
//! a fake OpenRouter behind it, and waiting on conditions.

mod cluster;
mod database;
mod errors;
mod json;
mod wait;

pub use cluster::{Cluster, cluster, postgresql_version};
pub use database::Database;
pub use errors::{Refusal, ResultExt};
pub use fake_openrouter::{Config, Fake, Generation, ReceivedRequest};
pub use json::{directives, user_message};
pub use wait::wait_until;

/// Leaves the current test out, and says why. In CI nothing that can be installed may be left out:
/// only a reason that names the environment is accepted there.
#[macro_export]
macro_rules! skip {
    ($reason:expr) => {{
        println!("SKIPPED: {}", $reason);
        return;
    }};
}
