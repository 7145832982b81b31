//! Takes away what the server lives on: room on its disks, and connections.

use std::time::SystemTime;

use hiems_tests::Random;

use crate::server::APP;
use crate::world::World;

/// The disk of the tables is full until somebody has felt it, and a little longer.
pub fn of_disk(world: &World, random: &mut Random) -> bool {
    let Some(disk) = &world.server.table_disk else { return false };
    let so_far = world.server.log_length();
    let mut felt = false;
    world.outages.while_full(|| {
        disk.fill();
        felt = world
            .holds_within(20, || world.server.log_from(so_far).contains("No space left on device"));
        world.pause(100 + random.below(900));
        disk.mend();
    });
    felt
}

/// The WAL's disk is full until PostgreSQL panics; it comes up again once there is room.
pub fn of_wal(world: &World, random: &mut Random) -> bool {
    let Some(disk) = &world.server.wal_disk else { return false };
    let mut admin = world.server.admin();
    disk.fill();
    // What it still has in stock is used up.
    let fill = "SELECT pg_logical_emit_message(false, 'torture', repeat('x', 700000));
                SELECT pg_switch_wal()";
    let mut alive = SystemTime::now();
    let felt = world.holds_within(20, || {
        let begun = SystemTime::now();
        let is_up = admin.batch_execute(fill).is_ok();
        if is_up {
            alive = begun;
        }
        !is_up
    });
    world.outages.since(alive, true, || {
        // Sometimes for so long that the restart after the crash fails, too.
        world.pause(random.below(1_500));
        disk.mend();
        let is_up = world.holds_within(15, || {
            world.server.start_again();
            world.server.try_connect("postgres").is_ok()
        });
        if !is_up {
            // PostgreSQL 18 waits for ever where its recovery found no room: whoever runs it starts it anew.
            world.server.bounce("immediate");
        }
        drop(world.server.admin());
    });
    felt
}

/// Every connection that is not the superusers' is taken, for a while.
pub fn of_connections(world: &World) -> bool {
    let mut taken = Vec::new();
    let refused = loop {
        match world.server.try_connect(APP) {
            Ok(client) => taken.push(client),
            Err(error) => break error,
        }
    };
    world.pause(400);
    refused.code().is_some_and(|code| code.code() == "53300")
}
