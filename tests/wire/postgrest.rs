//! hiems over HTTP: a real PostgREST 12 with the roles of Supabase's own init, real tokens, and Supabase's
//! clients in JavaScript.

#[path = "postgrest/arguments.rs"]
mod arguments;
#[path = "postgrest/attacks.rs"]
mod attacks;
#[path = "postgrest/documents.rs"]
mod documents;
#[path = "postgrest/errors.rs"]
mod errors;
#[path = "postgrest/examples.rs"]
pub mod examples;
#[path = "postgrest/isolation.rs"]
mod isolation;
#[path = "postgrest/levels.rs"]
mod levels;
#[path = "postgrest/migration.rs"]
mod migration;
#[path = "postgrest/queue.rs"]
mod queue;
#[path = "postgrest/server.rs"]
pub mod server;
#[path = "postgrest/sight.rs"]
mod sight;
#[path = "postgrest/site.rs"]
mod site;
#[path = "postgrest/slow.rs"]
mod slow;
#[path = "postgrest/token.rs"]
pub mod token;
