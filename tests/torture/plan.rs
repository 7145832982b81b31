//! What a run does, all of it from its seed.

use std::time::Duration;

use hiems_tests::Random;

use crate::ending::{ENDINGS, Ending};
use crate::fault::Fault;
use crate::form::{Call, FORMS, Form};
use crate::upstream::{self, Upstream};

/// A run, before it begins.
pub struct Plan {
    pub seed: u64,
    /// How many calls are made; a few more where the faults take longer.
    pub calls: usize,
    /// How many faults of the server are injected.
    pub faults: usize,
    pub sessions: usize,
    /// Transactions that are held open for the whole run.
    pub held: usize,
    /// Which faults, each in its turn.
    pub kinds: Vec<Fault>,
    /// True where each kind of everything must have been injected.
    pub is_whole: bool,
    /// What is switched off in the gateway, to see that it is missed.
    pub switched_off: Option<&'static str>,
    /// How long the callers may take, and then how long until everything is booked.
    pub traffic_deadline: Duration,
    pub quiet_deadline: Duration,
}

/// One call to be made.
pub struct Planned {
    pub label: String,
    pub form: Form,
    pub ending: Ending,
    pub upstream: Upstream,
}

impl Planned {
    /// A call that nothing disturbs.
    pub fn plain(label: &str) -> Planned {
        Planned {
            label: label.to_owned(),
            form: Form::SubmitPrompt,
            ending: Ending::Commit,
            upstream: upstream::PLAIN,
        }
    }

    /// It, as it is made of its own label.
    pub fn call(&self) -> Call {
        Call { form: self.form, label: self.label.clone(), metadata: self.upstream.metadata() }
    }
}

impl Plan {
    /// Of SEED, CALLS and FAULTS; without them the short run that is part of every `make test`, always the same.
    pub fn of_environment() -> Plan {
        let number = |name: &str| {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
        };
        let calls = number("CALLS").unwrap_or(400) as usize;
        let faults = number("FAULTS").unwrap_or(Fault::ALL.len() as u64) as usize;
        Plan {
            seed: number("SEED").unwrap_or(1),
            calls,
            faults,
            sessions: 10,
            held: 2,
            kinds: Fault::ALL.to_vec(),
            is_whole: true,
            switched_off: None,
            traffic_deadline: Duration::from_secs(60 + calls as u64 / 20 + faults as u64 * 6),
            quiet_deadline: Duration::from_secs(90),
        }
    }

    /// The `turn`-th call of a session.
    pub fn call(&self, session: usize, turn: usize) -> Planned {
        let place = (turn * self.sessions + session) as u64;
        let mut random = self.random(1, place);
        let ending = dealt(self.seed ^ 0xE, place, ENDINGS);
        let table = upstream::table();
        // More than a third of the calls are plain.
        let deck: Vec<usize> = (0..table.len() * 8 / 5).collect();
        let upstream = table.get(dealt(self.seed ^ 0xA, place, &deck)).copied();
        let form = match *random.pick(FORMS) {
            Form::Detached if !ending.suits_detached() => Form::SubmitPrompt,
            form => form,
        };
        // Nobody waits for what is enqueued: there is nothing to break off.
        let ending =
            if form == Form::Queued && ending.needs_time() { Ending::Commit } else { ending };
        let needs_options = upstream.is_some() || ending.needs_time();
        Planned {
            label: format!("s{session}-{turn}"),
            form: if needs_options && form == Form::Complete { Form::SubmitPrompt } else { form },
            ending,
            upstream: upstream.unwrap_or(upstream::PLAIN),
        }
    }

    /// The `turn`-th fault.
    pub fn fault(&self, turn: usize) -> Fault {
        dealt(self.seed ^ 0xF, turn as u64, &self.kinds)
    }

    /// A generator of one's own: `part` says whose.
    pub fn random(&self, part: u64, number: u64) -> Random {
        let mut spread = Random::of(self.seed ^ (part << 56) ^ number);
        Random::of(spread.below(u64::MAX))
    }
}

/// The card at this place where a deck is shuffled anew each time it has been dealt: none is left out.
fn dealt<T: Copy>(seed: u64, place: u64, deck: &[T]) -> T {
    let size = deck.len() as u64;
    let mut spread = Random::of(seed.rotate_left(17) ^ (place / size));
    let mut random = Random::of(spread.below(u64::MAX));
    let mut order: Vec<usize> = (0..deck.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    deck[order[(place % size) as usize]]
}
