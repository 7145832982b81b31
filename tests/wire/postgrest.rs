//! hiems over HTTP: a real PostgREST 12 with the roles of Supabase's own init, real tokens, and Supabase's
//! clients in JavaScript.

mod arguments;
mod attacks;
mod documents;
mod errors;
pub mod examples;
mod isolation;
mod levels;
mod migration;
mod queue;
pub mod server;
mod sight;
mod site;
mod slow;
pub mod token;
