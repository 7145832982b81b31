//! How a gateway leaves.

use std::time::{Duration, Instant};

use pgrx::{log, warning};

use super::Gateway;
use crate::pg::interrupts;
use crate::pg::wait::Interest;
use crate::supabase::broadcast;

/// How long calls in flight are waited for when the gateway is told to end.
const DRAIN: Duration = Duration::from_secs(10);

impl Gateway {
    /// New callers find no socket and start the next gateway; those that are connected and wait for
    /// nothing are told; calls in flight are finished, within bounds. True if there is work for another one:
    /// calls that are queued, or not booked yet.
    pub(super) fn leave(mut self) -> bool {
        let _ = std::fs::remove_file(&self.socket);
        self.leaving.send_replace(true);
        let deadline = Instant::now() + DRAIN;
        while (self.shared.connections() > 0 || !self.queue.is_empty() || !self.is_left_in_order())
            && Instant::now() < deadline
        {
            self.wait.wait(Interest::Readable, Some(Duration::from_millis(5)));
            interrupts::check_in_worker();
            self.take_events();
            self.commit_all();
            self.queue_round(false);
        }
        // The last ones' events were not waited for.
        self.take_events();
        self.commit_all();
        if self.shared.in_flight() > 0 {
            log!(
                "the hiems gateway leaves {} calls in flight: their outcome is unknown",
                self.shared.in_flight()
            );
        }
        for call in self.batch.unwritten().chain(self.stuck.unwritten()) {
            warning!("the hiems gateway leaves without having journalled {call}");
        }
        if !self.sweep_all(deadline) {
            self.look_after_queue();
        }
        // What fails is not due any more.
        while broadcast::due_in() == Some(Duration::ZERO) {
            broadcast::send();
        }
        self.make_durable(Duration::ZERO);
        self.shared.generation_ids.clear();
        self.queue.has_jobs || self.unswept || self.on_their_way > 0
    }

    /// True if nothing would be lost: what somebody's lock keeps from the journal is in the spill, and
    /// the next gateway need not wait for it.
    fn is_left_in_order(&self) -> bool {
        let is_spilled = self.batch.is_in_spill() && !self.batch.is_worth_spilling();
        self.stuck.is_empty() && (self.batch.is_empty() || is_spilled)
    }
}
