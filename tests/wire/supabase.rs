//! hiems in a project of Supabase's: what opens it, and what its users are shown by broadcast and by
//! postgres_changes.

#[path = "supabase/attacks.rs"]
mod attacks;
#[path = "supabase/broadcast.rs"]
mod broadcast;
#[path = "supabase/browser.rs"]
mod browser;
#[path = "supabase/changes.rs"]
mod changes;
#[path = "supabase/check.rs"]
mod check;
#[path = "supabase/enable.rs"]
mod enable;
#[path = "supabase/join.rs"]
mod join;
#[path = "supabase/linter.rs"]
mod linter;
#[path = "supabase/path.rs"]
mod path;
#[path = "supabase/project.rs"]
pub mod project;
#[path = "supabase/random.rs"]
mod random;
#[path = "supabase/realtime.rs"]
mod realtime;
