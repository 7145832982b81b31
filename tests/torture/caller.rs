//! A session that makes its calls one after the other, and comes back whatever happens to it.

use std::sync::atomic::Ordering;

use postgres::Client;
use serde_json::json;

use crate::awaited::wait_for_answer;
use crate::form::{Call, Form};
use crate::plan::Planned;
use crate::world::World;

/// Long enough to be broken off in, short enough to be waited for.
const TIME: &str = "350";

/// Makes the calls of one session, and goes on until all faults are over.
pub fn run(world: &World, session: usize) {
    let mut random = world.plan.random(2, session as u64);
    let own = world.plan.calls.div_ceil(world.plan.sessions);
    let Some(mut client) = world.connect() else { return };
    let (mut turn, mut tries) = (0, 0);
    while turn < own || !world.faults_over.load(Ordering::Relaxed) {
        if world.is_overdue() {
            return;
        }
        if make(world, &mut client, world.plan.call(session, turn), tries) {
            world.progress.fetch_add(1, Ordering::Relaxed);
            (turn, tries) = (turn + 1, 0);
        } else {
            tries += 1;
            world.pause(100);
        }
        world.prepared.resolve_some(world, &mut client, &mut random);
        if client.is_closed() {
            let Some(next) = world.connect() else { return };
            client = next;
        }
    }
}

/// True if it reached the fake, or will: what was refused before it was sent is to be made again, under another label.
fn make(world: &World, client: &mut Client, mut planned: Planned, tries: usize) -> bool {
    if tries > 0 {
        planned.label = format!("{}.{tries}", planned.label);
    }
    let mut metadata = planned.upstream.metadata();
    if planned.ending.needs_time() && !metadata.contains_key("fake_header_delay_ms") {
        metadata.entry("fake_delay_ms").or_insert(json!(TIME));
    }
    let labels = planned.ending.labels(&planned.label);
    for label in &labels {
        world.note(label, &planned);
    }
    let is_queued = planned.form == Form::Queued;
    if planned.form == Form::Detached {
        world.endings.add("detached");
    }
    let call = Call { form: planned.form, label: planned.label, metadata };
    let ending = planned.ending;
    // What is refused, and what breaks, is what a run is for: the comparison judges it.
    let ended = ending.carry_out(world, client, &call);
    let is_enqueued = is_queued && ended.is_ok();
    let received = labels.iter().any(|label| world.server.fake.has_received(label));
    match ended {
        Ok(()) if received || is_queued => world.endings.add(&format!("{ending:?}")),
        Ok(()) => {}
        Err(error) => {
            let code = error.code().map_or("lost", |code| code.code());
            world.endings.add(&format!("error {code}"));
            // A connection that breaks here is looked at next.
            let _ = client.batch_execute("ROLLBACK");
            wait_for_answer(world, client, &error);
        }
    }
    received || is_enqueued
}
