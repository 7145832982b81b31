//! hiems in a project of Supabase's: what opens it, and what its users are shown by broadcast and by
//! postgres_changes.

mod attacks;
mod broadcast;
mod browser;
mod changes;
mod check;
mod enable;
mod join;
mod linter;
mod path;
pub mod project;
mod random;
mod realtime;
mod stubborn;
