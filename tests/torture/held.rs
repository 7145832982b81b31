//! A transaction that is held open for the whole run; another one, if the server takes it away.

use std::sync::atomic::Ordering;

use crate::plan::Planned;
use crate::world::{Expected, World};

/// Holds one until the traffic is over.
pub fn run(world: &World, number: usize) {
    let mut random = world.plan.random(3, number as u64);
    for turn in 0.. {
        let Some(mut client) = world.connect() else { return };
        let label = format!("h{number}-{turn}");
        let planned = Planned::plain(&label);
        world.note(&label, &planned);
        let call = planned.call();
        let mut is_held = client.batch_execute("BEGIN").is_ok()
            && client.batch_execute(&format!("SELECT {}", call.sql())).is_ok();
        while is_held && !world.traffic_over.load(Ordering::Relaxed) && !world.is_overdue() {
            world.pause(250);
            is_held = client.batch_execute("SELECT 1").is_ok();
        }
        let commits = random.percent(50);
        let ended = client.batch_execute(if commits { "COMMIT" } else { "ROLLBACK" });
        let expected = match ended {
            Ok(()) if commits && is_held => Expected::Committed,
            _ if commits => Expected::Any,
            _ => Expected::NotCommitted,
        };
        world.expect(&label, expected);
        if is_held && ended.is_ok() {
            world.endings.add("held open");
        }
        if world.traffic_over.load(Ordering::Relaxed) || world.is_overdue() {
            return;
        }
    }
}
