//! Calls of `hiems.submit_prompt`, on this thread or on one of their own.

use std::thread::JoinHandle;

use postgres::{Client, Error};

use crate::{Database, user_message, wait_until};

const CALL: &str = "
    SELECT hiems.submit_prompt(
        'openai/gpt-4o-mini', $1::text::jsonb, options => $2::text::jsonb)::text";

/// One call with these `options` (JSON text, such as [`crate::directives`] gives); the answer as JSON
/// text.
pub fn call(client: &mut Client, options: &str) -> Result<String, Error> {
    let row = client.query_one(CALL, &[&user_message("hello"), &options])?;
    Ok(row.get(0))
}

/// A session that waits for the answer to its call.
pub struct Running {
    /// Of the session's server process.
    pub pid: i32,
    thread: JoinHandle<(Client, Result<String, Error>)>,
}

impl Running {
    /// Makes a call as [`call`] does, without waiting for it.
    pub fn start(client: Client, options: &str) -> Running {
        let options = options.to_owned();
        Running::with(client, move |client| call(client, &options))
    }

    /// As [`Running::start`], and waits until `database`'s fake has this many calls in flight.
    pub fn in_flight(database: &Database, client: Client, options: &str, calls: usize) -> Running {
        let running = Running::start(client, options);
        running.wait_until_in_flight(database, calls);
        running
    }

    /// Waits until `database`'s fake has this many calls in flight.
    pub fn wait_until_in_flight(&self, database: &Database, calls: usize) {
        wait_until("the call is in flight", crate::SOON, || database.fake.in_flight() == calls);
    }

    /// Any other statement that waits for a call.
    pub fn with(
        mut client: Client,
        statement: impl FnOnce(&mut Client) -> Result<String, Error> + Send + 'static,
    ) -> Running {
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).expect("a session").get(0);
        let thread = std::thread::spawn(move || {
            let result = statement(&mut client);
            (client, result)
        });
        Running { pid, thread }
    }

    /// Waits for its end; gives the session back, too.
    pub fn end(self) -> (Client, Result<String, Error>) {
        self.thread.join().expect("the session's thread")
    }
}
