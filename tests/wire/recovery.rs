//! Clocks that jump, standbys that are promoted, servers that are rewound, backups that are restored and
//! gateways that take turns, all with calls in flight. OpenRouter's bill is the judge.

mod backup;
mod clock;
mod crash;
mod handover;
mod ids;
mod promotion;
mod rewind;
mod traffic;

use std::path::Path;

use hiems_tests::{
    Cluster, Database, Fake, Generation, ResultExt, Running, SOON, directives, user_message,
    wait_until,
};
use postgres::{Client, Error, Row};

/// In flight for long enough to break something meanwhile, and short enough to wait for its bill.
const LONG_MS: &str = "8000";

const CALL: &str = "
    SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, \"user\" => $2,
                               options => $3::text::jsonb)::text";

/// A call by a name of its own, which the bill has, too.
fn call_with(client: &mut Client, user: &str, wishes: &[(&str, &str)]) -> Result<String, Error> {
    let row = client.query_one(CALL, &[&user_message("hello"), &user, &directives(wishes)])?;
    Ok(row.get(0))
}

/// One whose answer comes after so many milliseconds.
fn call_as(client: &mut Client, user: &str, delay_ms: &str) -> Result<String, Error> {
    call_with(client, user, &[("fake_delay_ms", delay_ms)])
}

/// One whose transaction is rolled back.
fn roll_back_as(client: &mut Client, user: &str) {
    client.batch_execute("BEGIN").expect("a begin");
    call_as(client, user, "0").expect("an answer");
    client.batch_execute("ROLLBACK").expect("a rollback");
}

/// One whose answer is cut off; what it did cost is to be found after so many milliseconds.
fn lose(client: &mut Client, user: &str, lag_ms: &str) {
    let wishes = [("fake_fault", "cut_length"), ("fake_lookup_lag_ms", lag_ms)];
    assert_eq!(call_with(client, user, &wishes).sqlstate(), "PT502");
}

/// The same, without waiting for the answer.
fn start(client: Client, user: &str, delay_ms: &str) -> Running {
    let (user, delay_ms) = (user.to_owned(), delay_ms.to_owned());
    Running::with(client, move |client| call_as(client, &user, &delay_ms))
}

/// Waits until the journal that `client` sees has so many generations in flight.
fn wait_until_journalled(client: &mut Client, calls: i64) {
    const IN_FLIGHT: &str = "
        SELECT count(*) FROM hiems_private.calls WHERE state = 'sent' AND generation_id IS NOT NULL";
    wait_until("the generations in flight are in the journal", SOON, || {
        client.query_one(IN_FLIGHT, &[]).is_ok_and(|row| row.get::<_, i64>(0) == calls)
    });
}

/// What the ledger must say of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// This outcome, at the bill's cost.
    Known(&'static str),
    /// Its answer was lost, and OpenRouter was asked later: at the bill's cost.
    Lost,
}

const COMMITTED: End = End::Known("committed");

/// Once all is booked, the ledger has one row for each of these calls and no other, which agrees with the
/// bill; and the bill has each call once.
fn judge(client: &mut Client, fake: &Fake, calls: &[(&str, End)]) {
    let rows = ledger_of(client, fake);
    let users: Vec<&str> = rows.iter().map(|row| row.get("user_id")).collect();
    let mut expected: Vec<&str> = calls.iter().map(|(user, _)| *user).collect();
    expected.sort_unstable();
    assert_eq!(users, expected);
    for (user, end) in calls {
        let row = rows.iter().find(|row| row.get::<_, &str>("user_id") == *user).expect("a row");
        let generation = billed_once(fake, user);
        assert_eq!(row.get::<_, Option<&str>>("generation_id"), Some(&*generation.id), "{user}");
        let is_right = match end {
            End::Known(outcome) => {
                row.get::<_, &str>("outcome") == *outcome && is_billed(client, row, &generation)
            }
            End::Lost => {
                row.get::<_, &str>("outcome") == "failed"
                    && is_settled_or_unknown(client, row, &generation)
            }
        };
        let said: [Option<&str>; 3] =
            ["outcome", "cost_source", "cost_usd"].map(|column| row.get(column));
        assert!(is_right, "{user} is not {end:?} at {}: {said:?}", generation.cost);
    }
}

/// The ledger in the order of the users' names, once nothing is on its way any more.
fn ledger_of(client: &mut Client, fake: &Fake) -> Vec<Row> {
    hiems_tests::wait_until_booked(client, fake);
    client
        .query(
            "SELECT user_id, outcome, generation_id, cost_usd::text, cost_source
             FROM hiems.ai_usage_logs ORDER BY user_id COLLATE \"C\"",
            &[],
        )
        .expect("the ledger")
}

/// The one generation of this user's: nothing was sent again.
fn billed_once(fake: &Fake, user: &str) -> Generation {
    billed_at_most_once(fake, user).unwrap_or_else(|| panic!("nothing of {user}'s was billed"))
}

/// None: the request never came.
fn billed_at_most_once(fake: &Fake, user: &str) -> Option<Generation> {
    let of_user = |generation: &Generation| generation.user.as_deref() == Some(user);
    let mut generations: Vec<_> = fake.bill().into_iter().filter(of_user).collect();
    assert!(generations.len() < 2, "{user}");
    generations.pop()
}

fn is_billed(client: &mut Client, row: &Row, generation: &Generation) -> bool {
    row.get::<_, &str>("cost_source") == "billed" && is_cost(client, row, generation)
}

/// Unknown is only what cannot be asked for.
fn is_settled_or_unknown(client: &mut Client, row: &Row, generation: &Generation) -> bool {
    match row.get::<_, &str>("cost_source") {
        "settled" => is_cost(client, row, generation),
        "unknown" => is_unknown(row),
        _ => false,
    }
}

fn is_unknown(row: &Row) -> bool {
    ["generation_id", "cost_usd"].iter().all(|column| row.get::<_, Option<&str>>(column).is_none())
}

/// To the last digit.
fn is_cost(client: &mut Client, row: &Row, generation: &Generation) -> bool {
    let cost = client
        .query_one("SELECT ($1::text)::numeric::text", &[&generation.cost])
        .expect("a numeric");
    row.get::<_, Option<&str>>("cost_usd") == Some(cost.get(0))
}

/// What stands in for a locked journal, in a data directory; empty where nothing does.
fn spilled(data: &Path) -> String {
    let entries = std::fs::read_dir(data).expect("the data directory").flatten();
    let is_spill =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("hiems_calls.");
    let read = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path());
    // One may go meanwhile.
    entries.filter(is_spill).filter_map(|entry| read(entry).ok()).collect()
}

/// Starts a call while the journal is locked; returns once its generation is in the spill.
fn start_behind_lock(cluster: &Cluster, database: &Database, user: &str) -> Running {
    let running = start(database.admin(), user, LONG_MS);
    wait_until("the generation is in the spill", SOON, || {
        let begun = database.fake.has_begun(user);
        begun && spilled(&cluster.data()).contains(&billed_once(&database.fake, user).id)
    });
    running
}

/// A session that holds these tables until it commits or ends.
fn lock(database: &Database, tables: &str) -> Client {
    let mut client = database.admin();
    client
        .batch_execute(&format!("BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
        .expect("the lock");
    client
}

const JOURNAL: &str = "hiems_private.calls";
