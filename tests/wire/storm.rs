//! Many sessions that break off in every way: the ledger equals the bill, generation by generation, to
//! the last digit, with the right outcome on each row.

use std::collections::HashMap;
use std::time::Duration;

use hiems_tests::{Database, Generation, ResultExt, directives, user_message, wait_until};
use postgres::Client;
use postgres::types::ToSql;

const SESSIONS: usize = 16;

/// Of each session; a multiple of twelve has each ending equally often.
fn calls() -> usize {
    hiems_tests::how_many(48, 204)
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Ending {
    Commit,
    Rollback,
    SavepointRollback,
    ErrorAfterCall,
    CancelMidCall,
    TerminateMidCall,
    HttpError,
}

impl Ending {
    const BREAKS: [Ending; 6] = [
        Ending::Rollback,
        Ending::SavepointRollback,
        Ending::ErrorAfterCall,
        Ending::CancelMidCall,
        Ending::TerminateMidCall,
        Ending::HttpError,
    ];

    /// Half plain commits, the rest evenly.
    fn of(session: usize, call: usize) -> Ending {
        if call.is_multiple_of(2) {
            return Ending::Commit;
        }
        Ending::BREAKS[(session + call / 2) % Ending::BREAKS.len()]
    }

    fn outcome(self) -> &'static str {
        match self {
            Ending::Commit => "committed",
            Ending::Rollback | Ending::SavepointRollback | Ending::ErrorAfterCall => "rolled_back",
            Ending::CancelMidCall | Ending::TerminateMidCall => "cancelled",
            Ending::HttpError => "failed",
        }
    }
}

const CALL: &str = "hiems.submit_prompt($1, $2::text::jsonb, \"user\" => $3, use_case => 'storm', \
                    options => $4::text::jsonb)";
const MODELS: [&str; 3] =
    ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "meta-llama/llama-3.3-70b-instruct:free"];

struct Session<'a> {
    database: &'a Database<'static>,
    client: Client,
    number: usize,
}

impl Session<'_> {
    fn run(mut self) {
        for call in 0..calls() {
            self.call(call, Ending::of(self.number, call));
        }
    }

    fn call(&mut self, call: usize, ending: Ending) {
        let label = label(self.number, call);
        let model = MODELS[(self.number + call) % MODELS.len()];
        let messages = user_message(&format!("storm {label}"));
        let options = match ending {
            Ending::HttpError => {
                let status = ["400", "402", "429", "500", "502", "503"][call % 6];
                directives(&[("fake_status", status)])
            }
            // Longer than it takes to break off, and short enough to wait for its bill.
            Ending::CancelMidCall | Ending::TerminateMidCall => {
                directives(&[("fake_delay_ms", "4000")])
            }
            _ => directives(&[]),
        };
        let arguments: [&(dyn ToSql + Sync); 4] = [&model, &messages, &label, &options];
        let select = format!("SELECT {CALL}");
        match ending {
            Ending::Commit => {
                self.client.execute(&select, &arguments).expect("an answer");
            }
            Ending::Rollback => {
                let mut transaction = self.client.transaction().expect("BEGIN");
                transaction.execute(&select, &arguments).expect("an answer");
                transaction.rollback().expect("ROLLBACK");
            }
            Ending::SavepointRollback => {
                let mut transaction = self.client.transaction().expect("BEGIN");
                let mut savepoint = transaction.transaction().expect("SAVEPOINT");
                savepoint.execute(&select, &arguments).expect("an answer");
                savepoint.rollback().expect("ROLLBACK TO");
                transaction.commit().expect("COMMIT");
            }
            Ending::ErrorAfterCall => {
                let select = format!("{select}, 1 / (random() * 0)::int");
                assert_eq!(self.client.execute(&select, &arguments).sqlstate(), "22012");
            }
            Ending::HttpError => {
                let sqlstate = self.client.execute(&select, &arguments).sqlstate();
                assert!(["22023", "PT402", "PT429", "PT502", "PT503"].contains(&&*sqlstate));
            }
            Ending::CancelMidCall => {
                let broken = self.break_off("pg_cancel_backend", &label, &select, &arguments);
                assert_eq!(broken.code().map(|code| code.code()), Some("57014"), "{label}");
            }
            Ending::TerminateMidCall => {
                let broken = self.break_off("pg_terminate_backend", &label, &select, &arguments);
                // The client shows the FATAL, or the end of the stream behind it.
                let sqlstate = broken.code().map(|code| code.code());
                assert!(broken.is_closed() || sqlstate == Some("57P01"), "{label}: {broken}");
                self.client = self.database.admin();
            }
        }
    }

    /// Runs a call and, once its generation has begun, `function` on this session's process.
    fn break_off(
        &mut self,
        function: &str,
        label: &str,
        select: &str,
        arguments: &[&(dyn ToSql + Sync)],
    ) -> postgres::Error {
        let pid: i32 = self.client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let database = self.database;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                wait_until("the call to be broken off has begun", DEADLINE, || {
                    database.fake.has_begun(label)
                });
                let act = format!("SELECT {function}($1)");
                database.admin().execute(&act, &[&pid]).expect("a signal");
            });
            self.client.execute(select, arguments).expect_err("the call is broken off")
        })
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

fn label(session: usize, call: usize) -> String {
    format!("s{session}-{call}")
}

#[test]
fn the_ledger_equals_the_bill() {
    let database = Database::new();
    std::thread::scope(|scope| {
        for number in 0..SESSIONS {
            let session = Session { database: &database, client: database.admin(), number };
            scope.spawn(|| session.run());
        }
    });
    database.wait_until_booked();
    let mix = mix();
    println!("{SESSIONS} sessions x {} calls: {mix:?}", calls());

    let bill: HashMap<String, Generation> = database
        .fake
        .bill()
        .into_iter()
        .map(|generation| (generation.user.clone().expect("a label"), generation))
        .collect();
    assert_eq!(bill.len(), SESSIONS * calls() - mix[&Ending::HttpError]);
    let rows = database
        .admin()
        .query(
            "SELECT user_id, outcome, generation_id, cost_usd::text, cost_source, prompt_tokens,
                    completion_tokens, cached_tokens, reasoning_tokens, model, provider, adjusts::text
             FROM hiems.ai_usage_logs",
            &[],
        )
        .expect("the ledger");
    assert_eq!(rows.len(), SESSIONS * calls());
    let mut rows: HashMap<String, postgres::Row> =
        rows.into_iter().map(|row| (row.get(0), row)).collect();
    let mut admin = database.admin();
    for session in 0..SESSIONS {
        for call in 0..calls() {
            let label = label(session, call);
            let ending = Ending::of(session, call);
            let row = rows.remove(&label).unwrap_or_else(|| panic!("{label} {ending:?}: no row"));
            assert_eq!(row.get::<_, String>(1), ending.outcome(), "{label} {ending:?}");
            if ending == Ending::HttpError {
                assert_eq!(row.get::<_, Option<String>>(2), None, "{label}");
                assert_eq!(row.get::<_, String>(3), "0", "{label}");
                assert_eq!(row.get::<_, String>(4), "not_billed", "{label}");
                continue;
            }
            let billed = &bill[&label];
            assert!(billed.billed, "{label}");
            assert_eq!(row.get::<_, String>(2), billed.id, "{label}");
            assert_eq!(row.get::<_, String>(4), "billed", "{label}");
            let cost: String = row.get(3);
            assert_eq!(cost, numeric(&mut admin, &billed.cost), "{label}: {}", billed.cost);
            let tokens = [
                billed.prompt_tokens,
                billed.completion_tokens,
                billed.cached_tokens,
                billed.reasoning_tokens,
            ];
            for (column, tokens) in (5..).zip(tokens) {
                assert_eq!(row.get::<_, i64>(column), tokens as i64, "{label}, column {column}");
            }
            assert_eq!(row.get::<_, String>(9), billed.model, "{label}");
            assert_eq!(row.get::<_, String>(10), billed.provider, "{label}");
        }
    }
    assert!(rows.is_empty(), "rows of no call: {:?}", rows.keys());

    // The sum of the bill, added up by PostgreSQL from the literal tokens.
    let costs: Vec<String> = bill.values().map(|generation| generation.cost.clone()).collect();
    let equal: bool = admin
        .query_one(
            "SELECT (SELECT sum(c::numeric) FROM unnest($1::text[]) AS c) = t.cost_usd
                    AND t.cost_usd = (SELECT sum(cost_usd) FROM hiems.usage_by_model)
                    AND t.cost_usd = (SELECT sum(cost_usd) FROM hiems.usage_by_user)
                    AND t.cost_usd = (SELECT sum(cost_usd) FROM hiems.usage_by_use_case)
                    AND t.cost_usd = (SELECT sum(cost_usd) FROM hiems.usage_daily)
                    AND t.calls = $2 AND t.calls_without_cost = 0
             FROM hiems.usage_totals AS t",
            &[&costs, &((SESSIONS * calls()) as i64)],
        )
        .expect("the sums")
        .get(0);
    assert!(equal, "the views, the ledger and the bill do not have the same sum");
}

/// How many calls end in each way.
fn mix() -> std::collections::BTreeMap<Ending, usize> {
    let mut mix = std::collections::BTreeMap::new();
    for session in 0..SESSIONS {
        for call in 0..calls() {
            *mix.entry(Ending::of(session, call)).or_default() += 1;
        }
    }
    mix
}

/// How PostgreSQL writes a token as numeric.
fn numeric(admin: &mut Client, token: &str) -> String {
    admin.query_one("SELECT ($1::text)::numeric::text", &[&token]).expect("a numeric").get(0)
}
