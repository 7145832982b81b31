//! Random operations by eleven actors: calls that end in every way, levels given and taken,
//! reads of every table, view and function. A model knows what each may see: nobody sees a row too many
//! or too few, and every view adds up.

mod model;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hiems_tests::{Random, directives, user_message};
use model::{Actor, Kind, Model, Row, Sums};
use postgres::{Client, Error, IsolationLevel, Transaction};
use serde_json::{Value, json};

use super::tokens::Site;

const LEVELS: [&str; 4] = ["caller", "reader", "admin", "service"];
const MODELS: [&str; 2] = ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5"];
const SUBJECTS: [&str; 3] = ["ada", "bea", "eve"];

/// A view, what it groups by, and whether it shows one's own rows only.
const VIEWS: [(&str, &str, bool); 8] = [
    ("usage_totals", "''", false),
    ("usage_by_model", "model", false),
    ("usage_by_use_case", "use_case", false),
    ("usage_by_user", "user_id", false),
    ("usage_daily", "''", false),
    ("my_usage_totals", "''", true),
    ("my_usage_by_model", "model", true),
    ("my_usage_daily", "''", true),
];

struct World {
    site: Site,
    actors: Vec<Actor>,
    roles: Vec<String>,
    clients: HashMap<String, Client>,
    model: Model,
    random: Random,
    operation: usize,
}

#[test]
fn random_operations_show_nobody_too_much_or_too_little() {
    let mut world = World::new();
    println!("HIEMS_TEST_SEED={}", world.random.seed);
    let at_least = hiems_tests::how_many(300, 3000);
    // With some seeds hardly anybody may call for long: those go on until there is something to compare.
    while world.operation < at_least || !world.has_enough() && world.operation < 10 * at_least {
        world.operation += 1;
        let actor = world.random.below(world.actors.len() as u64) as usize;
        match world.random.below(100) {
            0..35 => world.call(actor),
            35..70 => world.read(actor, 2),
            70..90 => world.administer(actor),
            _ => world.ask(actor),
        }
    }
    world.check_all();
}

impl World {
    fn new() -> World {
        let mut site = Site::new("caller");
        let (alice, bob) = (site.database.role("alice"), site.database.role("bob"));
        let (carl, crew) = (site.database.role("carl"), site.database.role("crew"));
        site.database.admin().batch_execute(&format!("GRANT {crew} TO {carl}")).expect("a member");
        let (login, shared) = (site.login.clone(), site.role.clone());
        let claims =
            |subject: &str| format!("SET LOCAL request.jwt.claims = '{}'", json!({"sub": subject}));
        let plain = |role: &str, becomes: String| Actor {
            login: role.to_owned(),
            becomes,
            role: role.to_owned(),
            roles: vec![role.to_owned()],
            is_superuser: false,
            is_token: false,
            subject: None,
        };
        let token = |subject: Option<&str>| Actor {
            login: login.clone(),
            becomes: format!(
                "SET LOCAL ROLE {shared}; {}",
                subject.map(&claims).unwrap_or_default()
            ),
            is_token: true,
            subject: subject.map(str::to_owned),
            ..plain(&shared, String::new())
        };
        let actors = vec![
            Actor { is_superuser: true, ..plain("postgres", String::new()) },
            plain(&alice, String::new()),
            // Forged claims: they count for nothing here.
            plain(&bob, claims("ada")),
            Actor { roles: vec![carl.clone(), crew.clone()], ..plain(&carl, String::new()) },
            Actor { login: carl.clone(), ..plain(&crew, format!("SET LOCAL ROLE {crew}")) },
            token(Some("ada")),
            token(Some("bea")),
            // A subject called like a role, and none at all.
            token(Some(&alice)),
            token(None),
            // The tokens' role, without a token.
            Actor {
                login: "postgres".to_owned(),
                ..plain(&shared, format!("SET LOCAL ROLE {shared}; {}", claims("ada")))
            },
            token(Some("eve")),
        ];
        let mut model = Model::default();
        model.grant(Kind::Role, &shared, "caller");
        let roles = vec![alice, bob, carl, crew, shared];
        let (clients, random) = (HashMap::new(), Random::new());
        World { site, actors, roles, clients, model, random, operation: 0 }
    }

    fn about(&self, actor: usize, what: &str) -> String {
        let actor = &self.actors[actor];
        format!(
            "seed {}, operation {}: {} as {:?}: {what}",
            self.random.seed,
            self.operation,
            actor.login,
            actor.principal()
        )
    }

    /// Runs this in a transaction of the actor's, and commits it if it says so.
    fn transaction<R>(
        &mut self,
        actor: usize,
        isolation: IsolationLevel,
        body: impl FnOnce(&mut Transaction) -> Result<(R, bool), Error>,
    ) -> Result<R, String> {
        let Actor { login, becomes, .. } = &self.actors[actor];
        let database = &self.site.database;
        let client = self.clients.entry(login.clone()).or_insert_with(|| database.connect(login));
        let begun = client.build_transaction().isolation_level(isolation).start();
        let mut transaction = begun.expect("a transaction");
        transaction.batch_execute(becomes).expect("the actor");
        let sqlstate = |error: Error| error.code().expect("the server's error").code().to_owned();
        let (result, is_kept) = body(&mut transaction).map_err(sqlstate)?;
        let ended = if is_kept { transaction.commit() } else { transaction.rollback() };
        ended.expect("an end");
        Ok(result)
    }

    /// A call that ends in one of four ways.
    fn call(&mut self, actor: usize) {
        let label = format!("op{}", self.operation);
        let random = &mut self.random;
        let user = random.percent(40).then(|| (*random.pick(&SUBJECTS)).to_owned());
        let use_case = random.percent(50).then(|| (*random.pick(&["quiz", "chat"])).to_owned());
        let model = *random.pick(&MODELS);
        let cost = random.below(100_000) as i64;
        let ending = random.below(10);
        let (status, state) =
            *random.pick(&[("400", "22023"), ("402", "PT402"), ("404", "PT404"), ("500", "PT502")]);
        let fails = ending == 0;
        let options = if fails {
            directives(&[("fake_status", status)])
        } else {
            directives(&[("fake_cost", &format!("{cost}e-7"))])
        };
        let may = self.model.may_call(&self.actors[actor], user.as_deref());
        let messages = user_message(&label);
        let called = self.transaction(actor, IsolationLevel::ReadCommitted, |transaction| {
            let sql = "SELECT hiems.submit_prompt($1, $2::text::jsonb, $3, $4, $5,
                           options => $6::text::jsonb)::text";
            let ask = |transaction: &mut Transaction| {
                let row = transaction
                    .query_one(sql, &[&model, &messages, &user, &use_case, &label, &options])?;
                Ok(row.get::<_, String>(0))
            };
            if ending != 1 {
                return Ok((ask(transaction)?, ending != 2));
            }
            let mut savepoint = transaction.transaction()?;
            let answer = ask(&mut savepoint)?;
            savepoint.rollback()?;
            Ok((answer, true))
        });
        let about = self.about(actor, &format!("call for {user:?}, ending {ending}"));
        let actor = &self.actors[actor];
        let role = &actor.role;
        let mut row = Row {
            label,
            principal: actor.principal().unwrap_or_else(|| format!("role:{role}")),
            user_id: user.or(actor.user_id()).unwrap_or_else(|| role.clone()),
            use_case,
            model: model.to_owned(),
            outcome: if fails { "failed" } else { "rolled_back" },
            tokens: 0,
            cost: if fails { 0 } else { cost },
            rate: self.model.rate,
            is_settled: false,
        };
        match called {
            Err(state) if !may => return assert_eq!(state, "42501", "{about}"),
            Err(found) => assert!(fails && found == state, "{about}: {found}"),
            Ok(answer) => {
                assert!(may && !fails, "{about}: it was let");
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                answer["model"].as_str().expect("a model").clone_into(&mut row.model);
                row.tokens = answer["usage"]["total_tokens"].as_i64().expect("tokens");
                if ending > 2 {
                    (row.outcome, row.is_settled) = ("committed", true);
                }
            }
        }
        self.model.rows.push(row);
    }

    /// The ledger, and so many views, in one snapshot.
    fn read(&mut self, actor: usize, views: usize) {
        let repeatable = IsolationLevel::RepeatableRead;
        let about = self.about(actor, "read");
        if !self.model.reaches(&self.actors[actor]) {
            let relation = self.random.pick(&VIEWS).0;
            let relation =
                *self.random.pick(&[relation, "ai_usage_logs", "model_statistics", "calls"]);
            let read = self.transaction(actor, repeatable, |transaction| {
                Ok((transaction.query(&format!("SELECT FROM hiems.{relation}"), &[])?.len(), false))
            });
            return assert_eq!(read, Err("42501".to_owned()), "{about}: {relation}");
        }
        let start = self.random.below(VIEWS.len() as u64) as usize;
        let chosen: Vec<_> = (0..views).map(|i| VIEWS[(start + i) % VIEWS.len()]).collect();
        let found = self.transaction(actor, repeatable, |transaction| {
            let rows = transaction.query("SELECT session_id FROM hiems.ai_usage_logs", &[])?;
            let seen: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(seen.len(), rows.len(), "{about}: no call twice");
            let mut sums = Vec::new();
            for (view, key, _) in &chosen {
                sums.push(view_sums(transaction, view, key)?);
            }
            let statistics = transaction.query(
                "SELECT model, sum(calls)::bigint, sum(failed_calls)::bigint
                 FROM hiems.model_statistics GROUP BY 1",
                &[],
            )?;
            let statistics: BTreeMap<String, (i64, i64)> =
                statistics.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
            let calls = transaction.query("SELECT session_id FROM hiems.calls", &[])?;
            let on_their_way: BTreeSet<String> = calls.iter().map(|row| row.get(0)).collect();
            Ok(((seen, sums, statistics, on_their_way), false))
        });
        let (seen, sums, statistics, on_their_way) =
            found.unwrap_or_else(|e| panic!("{about}: {e}"));
        let actor = &self.actors[actor];
        self.model.check_seen(actor, &seen, &on_their_way, &about);
        let own = actor.principal().unwrap_or_default();
        for ((view, key, is_own), found) in chosen.iter().zip(sums) {
            let only = is_own.then_some(own.as_str());
            let expected = self.model.sums(&seen, only, |row| match *key {
                "model" => row.model.clone(),
                "use_case" => row.use_case.clone().unwrap_or_else(|| "unspecified".to_owned()),
                "user_id" => row.user_id.clone(),
                _ => String::new(),
            });
            assert_eq!(found, expected, "{about}: {view}");
        }
        let expected = self.model.sums(&seen, None, |row| row.model.clone());
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(key, sum)| (key, (sum.calls, sum.failed))).collect();
        assert_eq!(statistics, expected, "{about}: model_statistics");
    }

    /// Levels given and taken, and rates.
    fn administer(&mut self, actor: usize) {
        // Mostly by who surely may, so that levels come and go.
        let actor = if self.random.percent(60) { 0 } else { actor };
        let level = *self.random.pick(&LEVELS);
        let is_role = self.random.percent(50);
        let role = self.random.pick(&self.roles).clone();
        let subject = (*self.random.pick(&SUBJECTS)).to_owned();
        let grantee = if is_role { role } else { subject };
        let rate = 1 + self.random.below(200) as i64;
        let choice = self.random.below(10);
        let sql = match (choice, is_role) {
            (0..6, true) => format!("SELECT hiems.grant_access('{grantee}', '{level}') IS NULL"),
            (0..6, false) => {
                format!("SELECT hiems.grant_user_access('{grantee}', '{level}') IS NULL")
            }
            (6..8, _) => format!("SELECT hiems.revoke_access('{grantee}', '{level}')"),
            (8, _) => format!("SELECT hiems.revoke_access('{grantee}')"),
            _ => format!(
                "SELECT hiems.set_exchange_rate('USD', {rate} / 10.0, '2020-01-01', 'x') IS NULL"
            ),
        };
        let is_kept = self.random.percent(85);
        let done = self.transaction(actor, IsolationLevel::ReadCommitted, |transaction| {
            Ok((transaction.query_one(&sql, &[])?.get::<_, bool>(0), is_kept))
        });
        let about = self.about(actor, &sql);
        let actor = &self.actors[actor];
        let may = self.model.reaches(actor) && self.model.has(actor, "admin");
        let Ok(answer) = done else {
            return assert!(!may && done == Err("42501".to_owned()), "{about}: {done:?}");
        };
        assert!(may, "{about}: it was let");
        if !is_kept {
            return;
        }
        let kind = if is_role { Kind::Role } else { Kind::User };
        match choice {
            0..6 => self.model.grant(kind, &grantee, level),
            6..8 => assert_eq!(answer, self.model.revoke(&grantee, Some(level)), "{about}"),
            8 => assert_eq!(answer, self.model.revoke(&grantee, None), "{about}"),
            _ => self.model.rate = Some(rate),
        }
    }

    /// The functions that say who one is and what one may.
    fn ask(&mut self, actor: usize) {
        let found = self.transaction(actor, IsolationLevel::ReadCommitted, |transaction| {
            let mut levels = Vec::new();
            for level in LEVELS {
                let row = transaction.query_one("SELECT hiems.has_level($1)", &[&level])?;
                levels.push(row.get::<_, bool>(0));
            }
            let row = transaction
                .query_one("SELECT hiems.current_principal(), hiems.current_user_id()", &[])?;
            Ok(((levels, row.get(0), row.get(1)), false))
        });
        let about = self.about(actor, "ask");
        let actor = &self.actors[actor];
        if !self.model.reaches(actor) {
            return assert_eq!(found, Err("42501".to_owned()), "{about}");
        }
        let levels: Vec<bool> = LEVELS.iter().map(|level| self.model.has(actor, level)).collect();
        assert_eq!(found, Ok((levels, actor.principal(), actor.user_id())), "{about}");
    }

    /// True where there are calls enough, and some that were not committed.
    fn has_enough(&self) -> bool {
        let rows = &self.model.rows;
        rows.len() > 30 && rows.iter().any(|row| row.outcome != "committed")
    }

    /// Once all is booked: everything, by everybody, and every row as the model has it.
    fn check_all(&mut self) {
        self.site.database.wait_until_booked();
        for row in &mut self.model.rows {
            row.is_settled = true;
        }
        for actor in 0..self.actors.len() {
            self.read(actor, VIEWS.len());
            self.ask(actor);
        }
        let rows = &self.model.rows;
        println!("{} calls in {} operations", rows.len(), self.operation);
        assert!(self.has_enough());
        for found in self.site.database.ledger() {
            let label = found["session_id"].as_str().expect("a label");
            let row = rows.iter().find(|row| row.label == label).expect("a row of the model");
            let of = |column: &str| found[column].as_str().map(str::to_owned);
            assert_eq!(of("outcome").as_deref(), Some(row.outcome), "{row:?}");
            assert_eq!(of("principal").as_deref(), Some(row.principal.as_str()), "{row:?}");
            assert_eq!(of("user_id").as_deref(), Some(row.user_id.as_str()), "{row:?}");
            assert_eq!(of("use_case"), row.use_case, "{row:?}");
        }
        // What was refused has sent nothing.
        assert_eq!(self.site.database.fake.requests().len(), rows.len());
    }
}

/// What a view shows, by its key.
fn view_sums(
    transaction: &mut Transaction,
    view: &str,
    key: &str,
) -> Result<BTreeMap<String, Sums>, Error> {
    let rows = transaction.query(
        &format!(
            "SELECT {key}, calls, failed_calls, coalesce(total_tokens, 0),
                    trim_scale(coalesce(cost_usd, 0) * 10000000)::text,
                    trim_scale(coalesce(cost_sek, 0) * 100000000)::text, calls_without_rate
             FROM hiems.{view} WHERE calls > 0 AND calls_without_cost = 0"
        ),
        &[],
    )?;
    let sums = rows.iter().map(|row| {
        let sums = Sums {
            calls: row.get(1),
            failed: row.get(2),
            tokens: row.get(3),
            cost: row.get(4),
            sek: row.get(5),
            without_rate: row.get(6),
        };
        (row.get(0), sums)
    });
    Ok(sums.collect())
}
