//! Every function with hostile arguments, by roles of every kind.

use std::collections::BTreeSet;

use hiems_tests::measure::{backend_of, memory_of};
use hiems_tests::{Cluster, Config, Database, KEY, Random, wait_until_booked};
use postgres::Client;

use crate::arguments::literal;
use crate::catalogue::{Function, functions};
use crate::{assert_no_crash, repeat};

/// What a backend may have of its own, in MB: some requests and answers of a megabyte.
const MOST_MEMORY: f64 = 400.0;
/// Between two looks at a backend's memory.
const CALLS: usize = 20;

/// One call of this function as a statement.
fn statement(random: &mut Random, function: &Function) -> String {
    let given = function.arguments.len() - random.below(function.defaults as u64 + 1) as usize;
    let arguments: Vec<String> =
        function.arguments[..given].iter().map(|(name, of)| literal(random, name, of)).collect();
    let call = format!("{}({})", function.name, arguments.join(", "));
    if function.is_procedure { format!("CALL {call}") } else { format!("SELECT * FROM {call}") }
}

/// Makes some calls; gives the SQLSTATEs that came.
pub fn attack(
    client: &mut Client,
    random: &mut Random,
    functions: &[Function],
) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..CALLS {
        let function = random.pick(functions);
        let sql = statement(random, function);
        // A procedure commits: it is called outside of a block.
        let is_in_block = !function.is_procedure && random.percent(70);
        if is_in_block {
            client.batch_execute("BEGIN").expect("BEGIN");
        }
        let begins = sql.chars().take(200).collect::<String>();
        if let Err(error) = client.simple_query(&sql) {
            let code =
                error.code().unwrap_or_else(|| panic!("{error}: {begins}")).code().to_owned();
            // Of megabytes in one statement PostgreSQL itself may say that they are too many.
            assert_ne!(code, "XX000", "{error:?}: {begins}");
            seen.insert(code);
        }
        if is_in_block {
            client.batch_execute("ROLLBACK").expect("ROLLBACK");
        }
    }
    seen
}

#[test]
fn every_function_outlives_hostile_arguments() {
    // The master key of a server changes with some of them.
    let cluster = Cluster::start(&["log_min_messages = warning"]);
    let mut database = Database::on(&cluster, Config::default());
    database.store_key();
    let mut actors = vec!["postgres".to_owned(), database.role("nobody")];
    for level in ["caller", "reader", "service", "admin"] {
        actors.push(database.role_with(level));
    }
    let functions = functions(&mut database.admin());
    let mut random = Random::new();
    println!("HIEMS_TEST_SEED={}", random.seed);
    let postmaster = cluster.postmaster();
    let mut clients: Vec<Client> = actors
        .iter()
        .map(|actor| {
            let mut client = database.connect(actor);
            // An admin's call may wait for as long as its arguments say.
            client.batch_execute("SET statement_timeout = '2s'").expect("a setting");
            client
        })
        .collect();
    let mut seen = BTreeSet::new();
    let rounds = repeat(|| {
        for client in &mut clients {
            seen.extend(attack(client, &mut random, &functions));
            let memory = memory_of(backend_of(client));
            assert!(memory < MOST_MEMORY, "{memory} MB after seed {}", random.seed);
        }
    });
    println!("{} calls: {seen:?}", rounds * clients.len() * CALLS);
    drop(clients);
    assert_eq!(cluster.postmaster(), postmaster);
    assert_no_crash(&cluster.log());
    let mut admin = database.admin();
    // Calls that were enqueued for the year 294276 stay in the queue.
    admin.batch_execute("DELETE FROM hiems_private.queue").expect("a superuser's hand");
    admin.batch_execute(&format!("SELECT hiems.set_api_key('{KEY}')")).expect("a key");
    wait_until_booked(&mut admin, &database.fake);
    database.booked();
}
