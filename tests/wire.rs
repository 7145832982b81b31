//! hiems over the wire: clients of a real server, with a fake OpenRouter. One file per promise.

#[path = "wire/access.rs"]
mod access;
#[path = "wire/await_prompt.rs"]
mod await_prompt;
#[path = "wire/batch.rs"]
mod batch;
#[path = "wire/call.rs"]
mod call;
#[path = "wire/catalog.rs"]
mod catalog;
#[path = "wire/contents.rs"]
mod contents;
#[path = "wire/detached.rs"]
mod detached;
#[path = "wire/extract.rs"]
mod extract;
#[path = "wire/failures.rs"]
mod failures;
#[path = "wire/faults.rs"]
mod faults;
#[path = "wire/gateway.rs"]
mod gateway;
#[path = "wire/health.rs"]
mod health;
#[path = "wire/http.rs"]
mod http;
#[path = "wire/idempotency.rs"]
mod idempotency;
#[path = "wire/interrupts.rs"]
mod interrupts;
#[path = "wire/isolation.rs"]
mod isolation;
#[path = "wire/keys.rs"]
mod keys;
#[path = "wire/ledger.rs"]
mod ledger;
#[path = "wire/lifecycle.rs"]
mod lifecycle;
#[path = "wire/locks.rs"]
mod locks;
#[path = "wire/postgrest.rs"]
mod postgrest;
#[path = "wire/queue.rs"]
mod queue;
#[path = "wire/rates.rs"]
mod rates;
#[path = "wire/readme.rs"]
mod readme;
#[path = "wire/realtime.rs"]
mod realtime;
#[path = "wire/recovery.rs"]
mod recovery;
#[path = "wire/refusals.rs"]
mod refusals;
#[path = "wire/settlement.rs"]
mod settlement;
#[path = "wire/storm.rs"]
mod storm;
#[path = "wire/stream.rs"]
mod stream;
#[path = "wire/supabase.rs"]
mod supabase;
#[path = "wire/views.rs"]
mod views;
