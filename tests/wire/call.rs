//! A call returns OpenRouter's body and leaves one ledger row, in the caller's transaction.

use hiems_tests::{Database, user_message};

#[test]
fn a_call_answers_and_is_booked() {
    let database = Database::new();
    let mut client = database.admin();
    let row = client
        .query_one(
            "SELECT r ->> 'id', r #>> '{usage,cost}'
             FROM hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, \"user\" => 'u1') AS r",
            &[&user_message("hello")],
        )
        .expect("an answer");
    let (id, cost): (String, String) = (row.get(0), row.get(1));
    let bill = database.fake.bill();
    assert_eq!(bill.len(), 1);
    assert_eq!(bill[0].id, id);
    let booked = client
        .query_one("SELECT generation_id, cost_usd::text, outcome FROM hiems.ai_usage_logs", &[])
        .expect("one ledger row");
    assert_eq!(booked.get::<_, String>(0), id);
    assert_eq!(booked.get::<_, String>(1), cost);
    assert_eq!(booked.get::<_, String>(2), "committed");
}
