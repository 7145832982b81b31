//! Random operations of two users and an admin: calls that end in every way, queued and cancelled
//! ones, levels given and taken. A model knows whose each call is: postgres_changes, broadcast, the ledger and the
//! views never show a row too many or too few.

use std::collections::{BTreeMap, BTreeSet};

use hiems_tests::{Random, directives, user_message};
use postgres::Client;
use serde_json::Value;

use super::join::may;
use super::project::{Project, claims};
use super::realtime::{Realtime, Subscriber, Told, subscriber};

const USERS: [&str; 3] = ["ada", "bea", "boss"];

struct World {
    project: Project,
    client: Client,
    realtime: Realtime,
    random: Random,
    operation: usize,
    /// Whose the call with this label is: each comes to be one row, and others that correct it.
    owners: BTreeMap<String, &'static str>,
    readers: BTreeSet<&'static str>,
    /// The rows that the polls have told of.
    polled: BTreeSet<String>,
}

#[test]
fn random_operations_tell_nobody_too_much_or_too_little() {
    let project = Project::new();
    let boss = "SELECT hiems.grant_user_access('boss', 'admin')";
    project.database.admin().batch_execute(boss).expect("a level");
    let mut subscribers: Vec<Subscriber> = USERS.iter().map(|sub| user(sub)).collect();
    subscribers.push(subscriber("authenticated", "{\"sub\": 1}".to_owned()));
    subscribers.push(subscriber("anon", claims("ada")));
    let mut world = World {
        client: project.database.connect("authenticator"),
        realtime: Realtime::start(&project.database, subscribers),
        project,
        random: Random::new(),
        operation: 0,
        owners: BTreeMap::new(),
        readers: BTreeSet::from(["boss"]),
        polled: BTreeSet::new(),
    };
    println!("HIEMS_TEST_SEED={}", world.random.seed);
    let operations = hiems_tests::how_many(150, 1000);
    for operation in 0..operations {
        world.operation = operation;
        match world.random.below(100) {
            0..70 => world.call(),
            70..85 => world.enqueue(),
            85..95 => world.check(),
            _ => world.change_levels(),
        }
    }
    world.check();
    world.check_events();
    assert!(world.owners.len() > operations / 2, "{} calls", world.owners.len());
}

fn user(sub: &str) -> Subscriber {
    subscriber("authenticated", claims(sub))
}

impl World {
    fn about(&self) -> String {
        format!("seed {}, operation {}", self.random.seed, self.operation)
    }

    /// A call that is kept, rolled back, fails, settles later, or is the same as one before.
    fn call(&mut self) {
        let sub = *self.random.pick(&USERS);
        let label = format!("op{}", self.operation);
        let ending = self.random.below(40);
        let cost = format!("{}e-7", self.random.below(100_000));
        let mut wishes = vec![("fake_cost", cost.as_str())];
        match ending {
            0..5 => wishes = vec![("fake_status", "400")],
            // Each is waited for: OpenRouter's record comes a second later.
            5 => wishes.push(("fake_no_usage", "true")),
            _ => {}
        }
        let (options, messages) = (directives(&wishes), user_message(&label));
        let sql =
            "SELECT hiems.submit_prompt('openai/gpt-4o-mini', $1::text::jsonb, session_id => $2,
                       options => $3::text::jsonb, idempotency_key => $4)";
        let is_repeated = (6..11).contains(&ending);
        let key = is_repeated.then_some(label.as_str());
        let project = &self.project;
        let called = project.request(&mut self.client, "authenticated", &claims(sub), |request| {
            let mut savepoint = request.transaction()?;
            savepoint.query_one(sql, &[&messages, &label, &options, &key])?;
            if (11..16).contains(&ending) {
                savepoint.rollback()?;
            } else {
                savepoint.commit()?;
            }
            if is_repeated {
                request.query_one(sql, &[&messages, &label, &options, &key])?;
            }
            Ok(((), !(16..21).contains(&ending)))
        });
        assert_eq!(called.is_err(), ending < 5, "{}: {called:?}", self.about());
        self.owners.insert(label, sub);
    }

    /// A call of the queue; some are cancelled, or not committed, and come to be no row.
    fn enqueue(&mut self) {
        let sub = *self.random.pick(&USERS);
        let label = format!("op{}", self.operation);
        let ending = self.random.below(4);
        let run_at = (ending == 0).then_some("9999-01-01");
        let messages = user_message(&label);
        let sql =
            "SELECT hiems.enqueue_prompt('openai/gpt-4o-mini', $1::text::jsonb, session_id => $2,
                       run_at => $3::text::timestamptz)::text";
        let project = &self.project;
        let mut request =
            |sql: &str, parameters: &[&(dyn postgres::types::ToSql + Sync)], is_kept| {
                project.request(&mut self.client, "authenticated", &claims(sub), |request| {
                    Ok((request.query_one(sql, parameters)?.get::<_, String>(0), is_kept))
                })
            };
        let id = request(sql, &[&messages, &label, &run_at], ending != 1).expect("an id");
        if ending == 0 {
            let cancelled =
                request("SELECT hiems.cancel_prompt($1::text::uuid)::text", &[&id], true);
            assert_eq!(cancelled.expect("cancelled"), "true");
        }
        if ending > 1 {
            self.owners.insert(label, sub);
        }
    }

    fn change_levels(&mut self) {
        // What was before is told under the levels from before.
        self.check();
        let sub = *self.random.pick(&["ada", "bea"]);
        let sql = if self.random.percent(50) {
            self.readers.insert(sub);
            format!("SELECT hiems.grant_user_access('{sub}', 'reader')")
        } else {
            self.readers.remove(sub);
            format!("SELECT hiems.revoke_access('{sub}')")
        };
        self.project.database.admin().batch_execute(&sql).expect("a level");
    }

    /// Every row, by its id: its label.
    fn rows(&self) -> BTreeMap<String, String> {
        let rows = self.project.database.ledger();
        let about = self.about();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{about}")).to_owned();
        let calls: Vec<String> = rows
            .iter()
            .filter(|row| row["calls"] == 1)
            .map(|row| text(&row["session_id"]))
            .collect();
        let known: BTreeSet<&String> = self.owners.keys().collect();
        assert_eq!(calls.iter().collect::<BTreeSet<_>>(), known, "{about}");
        assert_eq!(calls.len(), known.len(), "{about}: a call twice");
        rows.iter().map(|row| (text(&row["id"]), text(&row["session_id"]))).collect()
    }

    fn of<'a>(
        &'a self,
        sub: &'a str,
        rows: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = String> + 'a {
        let all = self.readers.contains(sub);
        rows.iter()
            .filter(move |(_, label)| all || self.owners[*label] == sub)
            .map(|(id, _)| id.clone())
    }

    /// What each is told since the last time, and sees.
    fn check(&mut self) {
        self.project.database.wait_until_booked();
        let (rows, about) = (self.rows(), self.about());
        let told = self.realtime.poll();
        let mut expected = Told::new();
        for sub in USERS {
            let new: BTreeSet<String> =
                self.of(sub, &rows).filter(|id| !self.polled.contains(id)).collect();
            if !new.is_empty() {
                expected.insert(user(sub), new);
            }
        }
        assert_eq!(told, expected, "{about}");
        self.polled = rows.keys().cloned().collect();
        for sub in USERS {
            let seen: BTreeSet<String> = self.of(sub, &rows).collect();
            let own = self.owners.values().filter(|owner| **owner == sub).count() as i64;
            let all = if self.readers.contains(sub) { self.owners.len() as i64 } else { own };
            let project = &self.project;
            let found =
                project.request(&mut self.client, "authenticated", &claims(sub), |request| {
                    let ids = request.query("SELECT id::text FROM hiems.ai_usage_logs", &[])?;
                    let sum = |row: postgres::Row| row.get::<_, Option<i64>>(0).unwrap_or_default();
                    let mine = "SELECT calls::bigint FROM hiems.my_usage_totals";
                    let mine = sum(request.query_one(mine, &[])?);
                    let every = "SELECT sum(calls)::bigint FROM hiems.usage_by_user";
                    let every = sum(request.query_one(every, &[])?);
                    let ids: BTreeSet<String> = ids.iter().map(|row| row.get(0)).collect();
                    Ok(((ids, mine, every), false))
                });
            assert_eq!(found.expect("it may read"), (seen, own, all), "{about}: {sub}");
            let joins = may(project, "authenticated", &claims(sub), "hiems:usage")
                .expect("no policy fails");
            assert_eq!(joins.0, self.readers.contains(sub), "{about}: {sub}");
        }
    }

    /// Each row was broadcast once to its user, and once to readers.
    fn check_events(&self) {
        let (rows, about) = (self.rows(), self.about());
        let mut found: Vec<(String, String)> = self
            .project
            .wait_until_sent(2 * rows.len())
            .into_iter()
            .map(|(topic, payload)| (topic, payload["id"].as_str().expect("an id").to_owned()))
            .collect();
        let mut expected: Vec<(String, String)> = rows
            .iter()
            .flat_map(|(id, label)| {
                let own = format!("hiems:user:{}", self.owners[label]);
                [("hiems:usage".to_owned(), id.clone()), (own, id.clone())]
            })
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{about}");
    }
}
