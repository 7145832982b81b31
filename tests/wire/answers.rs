//! Answers as the world sends them: in each form of a call, the one spelling counts as the other.

mod cut_off;
mod errors;
mod spellings;
mod waits;

use hiems_tests::{Database, Refusal, ResultExt, user_message};
use postgres::Client;

/// Each form of a call, as a statement; the fake's wishes are those of all requests.
fn forms() -> [(&'static str, String); 7] {
    let (model, messages) = ("'openai/gpt-4o-mini'", format!("'{}'", user_message("hello")));
    let requests =
        format!(r#"'[{{"model": "openai/gpt-4o-mini", "messages": {}}}]'"#, user_message("hello"));
    [
        ("submit_prompt", format!("SELECT hiems.submit_prompt({model}, {messages})")),
        ("complete", format!("SELECT hiems.complete('hello', {model})")),
        ("extract", format!("SELECT hiems.extract('hello', '{{}}', {model})")),
        ("detached", format!("CALL hiems.submit_prompt_detached({model}, {messages})")),
        ("stream", format!("SELECT hiems.stream_prompt({model}, {messages})")),
        ("batch", format!("SELECT * FROM hiems.submit_prompts({requests}, on_error => 'raise')")),
        ("queue", format!("SELECT hiems.enqueue_prompt({model}, {messages})::text")),
    ]
}

/// How a form of a call fails. The call's id is in DETAIL.
fn failure(client: &mut Client, form: &str, statement: &str) -> Refusal {
    if form != "queue" {
        return client.batch_execute(statement).refusal();
    }
    let id: String = client.query_one(statement, &[]).expect("an id").get(0);
    client.query_one("SELECT hiems.await_prompt($1::text::uuid, '1 minute')", &[&id]).refusal()
}

/// The id of the call that DETAIL names.
fn call_of(refusal: &Refusal) -> String {
    let rest = refusal.detail.strip_prefix("call ").and_then(|rest| rest.get(..36));
    rest.unwrap_or_else(|| panic!("DETAIL names the call: {refusal:?}")).to_owned()
}

/// An answer as it came.
fn raw(client: &mut Client, call: &str) -> String {
    let row = client.query_one("SELECT hiems.raw_answer($1::text::uuid)", &[&call]);
    String::from_utf8_lossy(row.expect("it is kept").get(0)).into_owned()
}

/// What the views count: calls, those that failed, and those whose cost is not known.
fn counted(database: &Database) -> Option<String> {
    database.text(
        "SELECT concat_ws(' ', calls, failed_calls, calls_without_cost) FROM hiems.usage_totals",
        &[],
    )
}
