//! What a call did cost is found out: OpenRouter's record of the generation (GET /generation) settles what
//! the answer did not say, and corrects what it said wrongly.

mod booked;
mod now;
mod unknown;

use hiems_tests::{Database, Generation};
use serde_json::Value;

/// The sum over a call's row and the rows that correct it, and the bill's, to the last digit.
fn assert_adds_up(database: &Database, billed: &Generation) {
    let sums = database.text(
        "SELECT concat_ws(' ', sum(calls), sum(cost_usd) = $2::text::numeric, sum(prompt_tokens),
                          sum(completion_tokens), sum(total_tokens), sum(reasoning_tokens),
                          sum(cached_tokens))
         FROM hiems.ai_usage_logs WHERE generation_id = $1",
        &[&billed.id, &billed.cost],
    );
    let (prompt, completion) = (billed.prompt_tokens, billed.completion_tokens);
    let (reasoning, cached) = (billed.reasoning_tokens, billed.cached_tokens);
    let total = prompt + completion;
    let expected = format!("1 t {prompt} {completion} {total} {reasoning} {cached}");
    assert_eq!(sums, Some(expected), "{billed:?} {:?}", database.ledger());
}

/// The one generation of the bill.
fn billed(database: &Database) -> Generation {
    let mut bill = database.fake.bill();
    assert_eq!(bill.len(), 1, "{bill:?}");
    bill.remove(0)
}

/// The rows that correct others.
fn corrections(database: &Database) -> Vec<Value> {
    database.ledger().into_iter().filter(|row| row["calls"] == 0).collect()
}
