//! Whoever is told of its call by an error may wait for the answer.

use postgres::{Client, Error};

use crate::world::World;

/// Waits for the answer of the call that `error` names; counts whether it was had.
pub fn wait_for_answer(world: &World, client: &mut Client, error: &Error) {
    let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default();
    let id = detail.strip_prefix("call ").and_then(|rest| rest.split(':').next());
    let Some(id) = id.filter(|_| !client.is_closed()) else { return };
    let wait = "SELECT hiems.await_prompt($1::text::uuid, '2 s')";
    let waited = if client.execute(wait, &[&id]).is_ok() { "had" } else { "not had" };
    world.endings.add(&format!("awaited, {waited}"));
}
