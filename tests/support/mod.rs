//! What the tests stand on: a PostgreSQL server of their own, a database of its own for each test with
//! a fake OpenRouter behind it, and waiting on conditions.

mod booked;
mod calls;
mod canned;
mod cluster;
mod database;
mod errors;
mod json;
mod length;
pub mod measure;
mod memory;
mod node;
mod played;
mod random;
mod wait;

pub use booked::wait_until_booked;
pub use calls::{Running, call};
pub use canned::Canned;
pub use cluster::{Cluster, cluster, logical_cluster, postgresql_version};
pub use database::{Database, KEY};
pub use errors::{Refusal, ResultExt};
pub use fake_openrouter::{Config, Fake, Generation, ReceivedRequest};
pub use json::{directives, user_message};
pub use length::how_many;
pub use memory::memory_holds;
pub use node::{node_folder, run_node, start_node};
pub use played::play_gateway;
pub use random::Random;
pub use wait::{SOON, wait_until};
