//! Several databases of one server at once: each has its own gateway, key and ledger.

use hiems_tests::{Database, call, directives};

#[test]
fn databases_do_not_know_of_each_other() {
    let databases: Vec<Database> = (0..3).map(|_| Database::new()).collect();
    std::thread::scope(|scope| {
        for (i, database) in databases.iter().enumerate() {
            for session in 0..4 {
                let mut client = database.admin();
                scope.spawn(move || {
                    for n in 0..20 {
                        let cost = format!("0.{i}{session}{n}1");
                        call(&mut client, &directives(&[("fake_cost", &cost)])).expect("an answer");
                    }
                });
            }
        }
    });
    for (i, database) in databases.iter().enumerate() {
        database.wait_until_booked();
        assert_eq!(database.gateways().len(), 1);
        let bill = database.fake.bill();
        assert_eq!(bill.len(), 80);
        let rows = database.ledger();
        assert_eq!(rows.len(), 80);
        for row in rows {
            let generation = bill.iter().find(|g| row["generation_id"] == g.id.as_str());
            assert_eq!(row["cost_usd"].to_string(), generation.expect("its own bill's").cost);
            assert!(row["cost_usd"].to_string().starts_with(&format!("0.{i}")));
        }
    }
}
