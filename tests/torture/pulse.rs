//! How late threads get their turn on this machine: what the gateway is given in milliseconds is a machine's
//! that has time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(1);
/// What is no more than a timer's slack.
const SLACK: Duration = Duration::from_micros(200);
/// How far it looks back.
const MEMORY: Duration = Duration::from_millis(50);

/// A thread that asks for its turn each millisecond, until this is dropped.
#[derive(Default)]
pub struct Pulse(Arc<Mutex<VecDeque<(Instant, Duration)>>>);

impl Pulse {
    pub fn start() -> Pulse {
        let pulse = Pulse::default();
        let beats = Arc::downgrade(&pulse.0);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            loop {
                std::thread::park_timeout(BEAT);
                let Some(beats) = beats.upgrade() else { return };
                let now = Instant::now();
                let late = (now - last).saturating_sub(BEAT);
                last = now;
                let mut beats = beats.lock().expect("the beats");
                beats.push_back((now, late));
                while beats.front().is_some_and(|(at, _)| now - *at > MEMORY) {
                    beats.pop_front();
                }
            }
        });
        pulse
    }

    /// By how much turns came late within the last moments, all together: an id passes through several
    /// threads before it is durable.
    pub fn late(&self) -> Duration {
        let beats = self.0.lock().expect("the beats");
        beats.iter().map(|(_, late)| *late).filter(|late| *late > SLACK).sum()
    }
}
