//! What Realtime does of postgres_changes: it polls a temporary slot, and asks for each change and subscriber
//! whether who subscribed sees the row (https://github.com/supabase/walrus, realtime.apply_rls).

use std::collections::{BTreeMap, BTreeSet};

use hiems_tests::{Database, postgresql_version};
use postgres::Client;
use serde_json::Value;

use super::project::become_one;

/// Who subscribed to the ledger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Subscriber {
    pub role: String,
    pub claims: String,
}

pub fn subscriber(role: &str, claims: String) -> Subscriber {
    Subscriber { role: role.to_owned(), claims }
}

/// Ids of rows, by who was told of them.
pub type Told = BTreeMap<Subscriber, BTreeSet<String>>;

pub struct Realtime {
    client: Client,
    pub subscribers: Vec<Subscriber>,
}

/// A change of the ledger: what was done, and the row's id.
struct Change {
    action: char,
    id: String,
}

// 15 has wal2json, which Realtime reads; of 18 there is none to be had, and PostgreSQL's own says as much.
const WAL2JSON: &str = "
    SELECT data FROM pg_logical_slot_get_changes(current_database(), NULL, 100,
        'format-version', '2', 'include-transaction', 'false', 'include-pk', 'true',
        'include-types', 'true', 'include-typmod', 'false', 'actions', 'insert,update,delete,truncate',
        'add-tables', (SELECT string_agg(format('%s.%s', schemaname, tablename), ',')
                       FROM pg_publication_tables WHERE pubname = 'supabase_realtime'))";
const TEST_DECODING: &str = "
    SELECT data FROM pg_logical_slot_get_changes(current_database(), NULL, 100)
    WHERE data LIKE 'table hiems.ai\\_usage\\_logs:%'
      AND EXISTS (SELECT FROM pg_publication_tables
                  WHERE pubname = 'supabase_realtime' AND tablename = 'ai_usage_logs')";

impl Realtime {
    /// From now on; for these.
    pub fn start(database: &Database, subscribers: Vec<Subscriber>) -> Realtime {
        let mut client = database.connect("supabase_admin");
        let plugin = if has_wal2json() { "wal2json" } else { "test_decoding" };
        client
            .execute(
                "SELECT pg_create_logical_replication_slot(current_database(), $1, true)",
                &[&plugin],
            )
            .expect("a slot");
        Realtime { client, subscribers }
    }

    fn changes(&mut self) -> Vec<Change> {
        // Only what is on disk is decoded, and the gateway does not wait for that: this commit does.
        let flush = "SELECT pg_logical_emit_message(true, 'hiems-tests', '')::text";
        self.client.execute(flush, &[]).expect("a message");
        let sql = if has_wal2json() { WAL2JSON } else { TEST_DECODING };
        let mut changes = Vec::new();
        loop {
            let rows = self.client.query(sql, &[]).expect("the slot can be read");
            if rows.is_empty() {
                return changes;
            }
            changes.extend(rows.iter().filter_map(|row| read(row.get(0))));
        }
    }

    /// All that has happened since the last time. No subscriber is an error for the others: there is none.
    pub fn poll(&mut self) -> Told {
        let mut told = Told::new();
        for Change { action, id } in self.changes() {
            for subscriber in self.subscribers.clone() {
                let is_told = match action {
                    // PostgreSQL has no row to look at any more: everybody is told its key.
                    'D' => true,
                    _ => self.sees(&subscriber, &id),
                };
                if is_told {
                    let key = format!("{}{id}", if action == 'D' { "-" } else { "" });
                    told.entry(subscriber).or_default().insert(key);
                }
            }
        }
        told
    }

    fn sees(&mut self, subscriber: &Subscriber, id: &str) -> bool {
        let may = "SELECT has_column_privilege($1, 'hiems.ai_usage_logs', 'id', 'SELECT')";
        let may = self.client.query_one(may, &[&subscriber.role]).expect("the catalog");
        if !may.get::<_, bool>(0) {
            // Error 401: Unauthorized, to this one.
            return false;
        }
        let mut check = self.client.transaction().expect("a transaction");
        become_one(&mut check, &subscriber.role, &subscriber.claims);
        let exists = "SELECT EXISTS (SELECT FROM hiems.ai_usage_logs WHERE id = $1::text::uuid)";
        let seen = check
            .query_one(exists, &[&id])
            .unwrap_or_else(|error| panic!("{subscriber:?} ends the poll for all: {error:?}"));
        seen.get(0)
    }
}

pub fn has_wal2json() -> bool {
    postgresql_version() == "15"
}

/// None: that commit's own message.
fn read(data: &str) -> Option<Change> {
    if has_wal2json() {
        let change: Value = serde_json::from_str(data).expect("JSON");
        if change["action"] == "M" {
            return None;
        }
        assert_eq!(
            (&change["schema"], &change["table"]),
            (&"hiems".into(), &"ai_usage_logs".into())
        );
        let action = change["action"].as_str().and_then(|action| action.chars().next());
        let columns = if action == Some('D') { &change["identity"] } else { &change["columns"] };
        let columns = columns.as_array().expect("columns");
        let id = columns.iter().find(|column| column["name"] == "id").expect("the key");
        return Some(Change {
            action: action.expect("an action"),
            id: id["value"].as_str().expect("a uuid").to_owned(),
        });
    }
    let rest = data.strip_prefix("table hiems.ai_usage_logs: ").expect("the ledger");
    let (_, id) = rest.split_once("id[uuid]:'").expect("the key");
    Some(Change {
        action: rest.chars().next().expect("an action"),
        id: id.split('\'').next().expect("a uuid").to_owned(),
    })
}
