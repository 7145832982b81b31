//! Many calls over one connection: sent in one frame, and each reply read as its call ends.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::client::{self, HANDOVERS};
use super::connection::{Broken, Connection};
use super::protocol::{Many, Reply, Request};
use crate::error::Error;

/// How long the gateway may take to be told that its caller wants no more. It reads all the time.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Calls that were handed to the gateway. Dropped before its end, it closes the connection, and the gateway
/// knows that its caller has gone.
pub struct Sent {
    many: Many,
    bodies: Vec<u8>,
    /// The calls without a reply, by their place.
    left: BTreeMap<i32, Uuid>,
    // Taken out while it is waited for, so that the unwinding of a cancel closes it.
    connection: Option<Connection>,
    /// False where the frame broke off: the gateway has surely not looked at it.
    is_whole: bool,
    handovers: usize,
    /// Why there is no gateway any more.
    broken: Option<Gone>,
}

enum Gone {
    /// It has died: what was sent is not known.
    Lost,
    /// There is no other that what is left could be handed to.
    Down(String),
}

/// How a call of many has ended.
pub enum Ended {
    Replied(Reply, Vec<u8>),
    /// It was surely not sent.
    Unsent(Error),
    /// Whether it was sent is not known.
    Lost(Error),
}

impl Sent {
    /// Hands calls over.
    pub fn send(many: Many, bodies: Vec<u8>) -> Result<Sent, Error> {
        let left = many.items.iter().map(|item| (item.position, item.submit.entry.id)).collect();
        let mut sent = Sent {
            many,
            bodies,
            left,
            connection: None,
            is_whole: true,
            handovers: 0,
            broken: None,
        };
        sent.hand_over()?;
        Ok(sent)
    }

    /// How many have not ended yet.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// The next that ends, with its place; None once all have.
    pub fn next(&mut self) -> Result<Option<(i32, Uuid, Ended)>, Error> {
        while !self.left.is_empty() {
            let Some(mut connection) = self.connection.take() else {
                if self.broken.is_some() {
                    return Ok(self.give_up());
                }
                // Those that have ended stay as they are: of the others, none was sent.
                if let Err(error) = self.hand_over() {
                    self.broken = Some(Gone::Down(error.to_string()));
                }
                continue;
            };
            match connection.receive(None) {
                Ok((Reply::Item { position, reply }, body)) => {
                    self.connection = Some(connection);
                    self.handovers = 0;
                    let Some(call) = self.left.remove(&position) else {
                        return Err(client::another_question());
                    };
                    return Ok(Some((position, call, Ended::Replied(*reply, body))));
                }
                // What was sent has ended, and its reply was read.
                Ok((Reply::Leaving, _)) => {
                    connection.send_last(&Request::Received, LAST_WORDS);
                }
                Ok(_) => return Err(client::another_question()),
                Err(_) if !self.is_whole => {}
                Err(_) => self.broken = Some(Gone::Lost),
            }
        }
        Ok(None)
    }

    /// The end: every reply was read.
    pub fn received(mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.send(&Request::Received, &[]).is_ok()
        {
            client::keep(connection);
        }
    }

    /// The caller wants no more. What it has of the answers, of `calls`, is booked if the transaction `xid`
    /// commits. Raises nothing, and waits for next to nothing. False where the gateway was not told.
    pub fn close(&mut self, calls: Vec<Uuid>, xid: u64) -> bool {
        let Some(mut connection) = self.connection.take() else { return false };
        connection.send_last(&Request::Closed { calls, xid }, LAST_WORDS)
    }

    /// One of those that no gateway has a reply for.
    fn give_up(&mut self) -> Option<(i32, Uuid, Ended)> {
        let (position, call) = self.left.pop_first()?;
        let ended = match &self.broken {
            Some(Gone::Down(detail)) => {
                Ended::Unsent(Error::GatewayDown { detail: detail.clone() })
            }
            _ => Ended::Lost(Error::GatewayLost { call }),
        };
        Some((position, call, ended))
    }

    /// Hands what is left to the gateway that there is.
    fn hand_over(&mut self) -> Result<(), Error> {
        if self.handovers > HANDOVERS {
            return Err(Error::GatewayDown { detail: "It leaves again and again.".to_owned() });
        }
        self.handovers += 1;
        self.forget_ended();
        let mut connection = client::connect()?;
        let request = Request::SubmitMany(Box::new(std::mem::take(&mut self.many)));
        let sent = connection.send(&request, &self.bodies);
        if let Request::SubmitMany(many) = request {
            self.many = *many;
        }
        // A gateway that leaves has said so before it closed.
        self.is_whole = sent.is_ok();
        if let Err(Broken::Garbled(what)) = sent {
            return Err(client::too_large(what));
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn forget_ended(&mut self) {
        if self.left.len() == self.many.items.len() {
            return;
        }
        let mut rest = &self.bodies[..];
        let mut bodies = Vec::new();
        self.many.items.retain(|item| {
            let (body, after) = rest.split_at(item.length.min(rest.len()));
            rest = after;
            let is_left = self.left.contains_key(&item.position);
            if is_left {
                bodies.extend_from_slice(body);
            }
            is_left
        });
        self.bodies = bodies;
    }
}
