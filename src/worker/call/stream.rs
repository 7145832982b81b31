//! One attempt of a call whose answer is streamed: OpenRouter is read at its own pace, whatever the caller's
//! is. Once the caller wants no more, the connection is closed: that stops many providers.

use std::time::{Duration, Instant};

use super::Sending;
use crate::ledger::Entry;
use crate::openrouter::answer::HttpAnswer;
use crate::openrouter::client::{Body, Streamed};
use crate::openrouter::sse::{BYTE_ORDER_MARK, Events};
use crate::openrouter::stream::Transcript;
use crate::vault::blot::Blot;
use crate::worker::server::Rows;
use crate::worker::settlement::Settlement;
use crate::worker::settlement::stream::End;

/// How long a stream may go on behind its error: a usage may come yet.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// What is kept of a stream as it comes.
struct Listener<'a> {
    call: &'a Sending,
    rows: &'a Rows,
    blot: Blot,
    started: Instant,
    entry: Entry,
    transcript: Transcript,
    /// All that came.
    body: Vec<u8>,
}

impl Sending {
    /// Sends it once, and passes the chunks on. The error: no connection, nothing was sent.
    pub(super) async fn attempt_stream(
        &self,
        entry: &Entry,
        rows: &Rows,
    ) -> Result<Settlement, String> {
        let mut entry = entry.clone();
        let started = Instant::now();
        let streamed = self
            .openrouter
            .stream(self.authorization.clone(), self.body.clone(), self.time_left(), |id| {
                self.note_generation(&mut entry, id);
            })
            .await;
        let body = match streamed {
            Ok(Streamed::Stream(body)) => body,
            Ok(Streamed::Whole(answer)) => return self.settled(entry, started, Ok(answer)),
            Err(error) => return self.settled(entry, started, Err(error)),
        };
        self.shared.set_last_contact(Ok(()));
        if let Some(seconds) = body.clock_skew() {
            self.shared.set_clock_skew(seconds);
        }
        let listener = Listener {
            call: self,
            rows,
            blot: Blot::of(self.authorization.as_bytes()),
            started,
            entry,
            transcript: Transcript::default(),
            body: Vec::new(),
        };
        listener.listen(body).await
    }
}

impl Listener<'_> {
    async fn listen(mut self, mut body: Body) -> Result<Settlement, String> {
        let status = body.status();
        let mut gone = self.call.gone.clone();
        let mut events = Events::default();
        let mut until = self.call.deadline;
        let end = loop {
            if self.transcript.is_done {
                tokio::spawn(body.finish());
                break End::Whole;
            }
            if self.transcript.answer.is_failed() {
                until = until.min(Instant::now() + AFTER_ERROR);
            }
            // Without its id nobody could say what it did cost: that is waited for.
            let can_be_closed = self.entry.generation_id.is_some();
            let time_left = until.saturating_duration_since(Instant::now());
            let next = tokio::select! {
                biased;
                _ = gone.wait_for(|gone| *gone), if can_be_closed => break End::Closed,
                next = body.next(time_left) => next,
            };
            match next {
                Ok(Some(bytes)) => {
                    self.body.extend_from_slice(&bytes);
                    for event in events.take(&bytes) {
                        self.hear(event, Transcript::take);
                    }
                }
                Ok(None) => {
                    if let Some(rest) = events.end() {
                        self.hear(rest, Transcript::take_rest);
                    }
                    break End::Whole;
                }
                Err(error) => break End::Broken(error),
            }
        };
        self.settle(status, end)
    }

    /// Takes an event in, and passes its chunk on. Each is whole by now: a key in it is not in two pieces.
    fn hear(
        &mut self,
        mut event: Vec<u8>,
        take: impl FnOnce(&mut Transcript, &[u8]) -> Option<String>,
    ) {
        self.blot.out(&mut event);
        let row = take(&mut self.transcript, &event);
        if self.entry.generation_id.is_none() {
            let id = self.transcript.answer.generation_id.clone();
            self.call.note_generation(&mut self.entry, id);
        }
        if self.transcript.answer.has_text && self.entry.first_token_ms.is_none() {
            self.entry.first_token_ms = i64::try_from(self.started.elapsed().as_millis()).ok();
        }
        if let Some(row) = row {
            self.rows.send(row.into_bytes());
        }
    }

    fn settle(mut self, status: u16, end: End) -> Result<Settlement, String> {
        self.blot.out(&mut self.body);
        if !self.transcript.has_chunks && is_object(&self.body) && matches!(end, End::Whole) {
            // No stream at all: an error at status 200, or the whole answer at once.
            let body = self.body;
            let answer = HttpAnswer { status, retry_after: None, clock_skew: None, body };
            let mut settlement = self.call.settled(self.entry, self.started, Ok(answer))?;
            if let Ok(body) = &mut settlement.result {
                self.rows.send(std::mem::take(body));
            }
            return Ok(settlement);
        }
        self.entry.latency_ms = i64::try_from(self.started.elapsed().as_millis()).ok();
        let mut settlement = Settlement::of_stream(self.entry, self.transcript, end);
        settlement.content.request = self.call.body.clone();
        settlement.content.answer = self.body;
        Ok(settlement)
    }
}

/// True of a body that begins like a JSON object, behind what may stand before it.
fn is_object(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    body.trim_ascii_start().starts_with(b"{")
}
