//! Every setting: its unit, range, who may change it, and why its default is what it is.
//!
//! What could send a key elsewhere is for superusers only, and read by the gateway from its own
//! process, never from a caller's session. Code below `api/` and `worker/` is given values, not
//! settings.

use std::ffi::CString;
use std::time::Duration;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;

use crate::pg::{session, time_zone};

mod caller;
mod gateway;

pub use caller::*;
pub use gateway::{GatewaySettings, interval};

/// When listeners on channel `hiems_usage` are told of new ledger rows.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Notify {
    /// With the commit that books them.
    #[name = c"commit"]
    Commit,
    /// By the gateway, many rows in a message, soon after.
    #[name = c"coalesced"]
    Coalesced,
    /// Never.
    #[name = c"off"]
    Off,
}

/// What the tests of the tests switch off, in debug builds alone: with it, calls must go missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PostgresGucEnum)]
pub enum SwitchOff {
    /// Nothing.
    #[default]
    #[name = c"none"]
    None,
    /// Booking what callers left.
    #[name = c"sweep"]
    Sweep,
    /// The journal's row before a call is sent.
    #[name = c"intent"]
    Intent,
    /// Looking calls of unknown cost up.
    #[name = c"settlement"]
    Settlement,
}

type Text = GucSetting<Option<CString>>;

static BASE_URL: Text = Text::new(Some(c"https://openrouter.ai/api/v1"));
static MASTER_KEY_FILE: Text = Text::new(None);
static CA_FILE: Text = Text::new(None);
// A long answer of a reasoning model takes minutes; a call that is given up is billed all the same.
static REQUEST_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(300_000);
// What the SDKs of the field do: two more attempts, some two seconds later.
static MAX_ATTEMPTS: GucSetting<i32> = GucSetting::<i32>::new(3);
static CONNECT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static MAX_IN_FLIGHT: GucSetting<i32> = GucSetting::<i32>::new(1_000);
static MAX_SHARE: GucSetting<i32> = GucSetting::<i32>::new(50);
// A provider's limits are by model: what one model takes is no other's to wait for.
static QUEUE_CONCURRENCY: GucSetting<i32> = GucSetting::<i32>::new(32);
// A prompt with pictures or documents in it has some megabytes. Each call in flight holds its own.
static MAX_REQUEST_BYTES: GucSetting<i32> = GucSetting::<i32>::new(32 * 1024 * 1024);
// Well below the 256 MB that jsonb can hold.
static MAX_RESPONSE_BYTES: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024 * 1024);
// Long enough that a site with a call a minute never waits for a start, which takes some 20 ms.
static WORKER_IDLE_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(300_000);
static APP_URL: Text = Text::new(None);
static APP_TITLE: Text = Text::new(None);
static APP_CATEGORIES: Text = Text::new(None);
static ANSWER_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(3_600);
// Prompts may be anybody's secrets: they are kept only where the operator wants them.
static LOG_CONTENT: GucSetting<bool> = GucSetting::<bool>::new(false);
static CONTENT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(30 * 86_400);
// What was paid for is not forgotten by itself.
static LEDGER_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(-1);
// Interrupted generations can take long to be found; after that somebody has to look.
static SETTLEMENT_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(3_600);
// The answer says what was billed: looking again is for those who want it proved.
static VERIFY_EVERY_COST: GucSetting<bool> = GucSetting::<bool>::new(false);
static NOTIFY: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::Commit);
#[cfg(debug_assertions)]
static TEST_SWITCH_OFF: GucSetting<SwitchOff> = GucSetting::<SwitchOff>::new(SwitchOff::None);
#[cfg(debug_assertions)]
static TEST_PACE: GucSetting<i32> = GucSetting::<i32>::new(1);
static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);
static REPORTING_TIME_ZONE: Text = Text::new(None);
static DEFAULT_MODEL: Text = Text::new(None);
static USE_CASE: Text = Text::new(None);
static API_KEY_NAME: Text = Text::new(Some(c"default"));
// PostgREST's and Supabase Realtime's logins: they check the token before they set the claims.
static JWT_SESSION_ROLES: Text = Text::new(Some(c"authenticator, supabase_admin"));

/// Registers the settings; called once per process, when the library is loaded.
pub fn define() {
    let text = GucRegistry::define_string_guc;
    let number = GucRegistry::define_int_guc;
    let hidden = GucFlags::SUPERUSER_ONLY;
    let milliseconds = GucFlags::UNIT_MS;
    let none = GucFlags::default();

    text(
        c"hiems.base_url",
        c"Where OpenRouter's API is.",
        c"https only, but for loopback addresses. The gateway reads it at its start and on a reload.",
        &BASE_URL,
        GucContext::Suset,
        none,
    );
    text(
        c"hiems.master_key_file",
        c"File with the master keys, a line of 64 hexadecimal digits each; the first seals.",
        c"Not set: hiems_master.key in the data directory, made when the first key is stored.",
        &MASTER_KEY_FILE,
        GucContext::Suset,
        hidden,
    );
    text(
        c"hiems.ca_file",
        c"PEM file of certificate authorities to trust instead of the public ones.",
        c"For companies whose proxy has a root of its own. Read as hiems.base_url is.",
        &CA_FILE,
        GucContext::Suset,
        hidden,
    );
    number(
        c"hiems.request_timeout",
        c"How long to wait for OpenRouter's whole answer, with all attempts.",
        c"A generation that is given up runs on and is billed; its outcome is then unknown.",
        &REQUEST_TIMEOUT,
        100,
        3_600_000,
        GucContext::Suset,
        milliseconds,
    );
    number(
        c"hiems.max_attempts",
        c"How often a call may be sent that was refused with 429 or 503 before it was billed.",
        c"Retry-After is honoured, within hiems.request_timeout. 1: never again. What may have been \
          billed is never sent again.",
        &MAX_ATTEMPTS,
        1,
        20,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.connect_timeout",
        c"How long to wait for a connection to OpenRouter.",
        c"Nothing is billed before there is one.",
        &CONNECT_TIMEOUT,
        100,
        600_000,
        GucContext::Suset,
        milliseconds,
    );
    number(
        c"hiems.max_in_flight",
        c"How many calls one database may have in flight.",
        c"A call above it is refused with PT429 before anything is sent; one of a batch waits.",
        &MAX_IN_FLIGHT,
        1,
        100_000,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.max_share",
        c"How much of hiems.max_in_flight one principal may hold while others need room, in percent.",
        c"The last tenth of it is for principals below their share, which is smaller where there are more of them. 100: \
          whoever comes first may hold all. Read as hiems.base_url is.",
        &MAX_SHARE,
        1,
        100,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.queue_concurrency",
        c"How many calls out of the queue one model may have in flight.",
        c"All models together have at most nine tenths of hiems.max_in_flight. 0: nothing is taken out of the queue. Read \
          as hiems.base_url is.",
        &QUEUE_CONCURRENCY,
        0,
        100_000,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.max_request_bytes",
        c"The largest request that is sent.",
        c"A larger one is refused with PT413 before anything is sent.",
        &MAX_REQUEST_BYTES,
        1024,
        512 * 1024 * 1024,
        GucContext::Suset,
        GucFlags::UNIT_BYTE,
    );
    number(
        c"hiems.max_response_bytes",
        c"The largest answer that is taken.",
        c"A larger one is cut off; its call fails, and is booked.",
        &MAX_RESPONSE_BYTES,
        1024,
        200 * 1024 * 1024,
        GucContext::Suset,
        GucFlags::UNIT_BYTE,
    );
    number(
        c"hiems.worker_idle_timeout",
        c"How long the gateway stays when there is nothing to do.",
        c"The next call starts it again.",
        &WORKER_IDLE_TIMEOUT,
        100,
        86_400_000,
        GucContext::Suset,
        milliseconds,
    );
    text(
        c"hiems.app_url",
        c"The application's address, sent to OpenRouter as HTTP-Referer.",
        c"Not set: not sent. OpenRouter's rankings and logs go by it. Read as hiems.base_url is.",
        &APP_URL,
        GucContext::Suset,
        none,
    );
    text(
        c"hiems.app_title",
        c"The application's name, sent to OpenRouter as X-OpenRouter-Title.",
        c"Not set: not sent.",
        &APP_TITLE,
        GucContext::Suset,
        none,
    );
    text(
        c"hiems.app_categories",
        c"The application's categories, sent to OpenRouter as X-OpenRouter-Categories.",
        c"At most two, separated by a comma. Not set: not sent.",
        &APP_CATEGORIES,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_enum_guc(
        c"hiems.notify",
        c"When channel hiems_usage is told of new ledger rows.",
        c"With 'commit' each booking transaction takes PostgreSQL's cluster-wide NOTIFY lock, and \
          PREPARE TRANSACTION is refused. With 'coalesced' the gateway tells of many at a time, at most \
          50 ms after their commits.",
        &NOTIFY,
        GucContext::Suset,
        none,
    );
    time_zone::define_setting(
        c"hiems.reporting_time_zone",
        c"Time zone of the days in views, and of the day whose exchange rate applies.",
        c"Not set: the server's TimeZone.",
        &REPORTING_TIME_ZONE,
    );
    text(
        c"hiems.default_model",
        c"The model that is asked where the caller names none.",
        c"",
        &DEFAULT_MODEL,
        GucContext::Userset,
        none,
    );
    text(
        c"hiems.use_case",
        c"The use case that is booked where the caller names none.",
        c"",
        &USE_CASE,
        GucContext::Userset,
        none,
    );
    text(
        c"hiems.api_key_name",
        c"The name of the stored key that pays for this session's calls.",
        c"Set it per role to bill roles to keys of their own.",
        &API_KEY_NAME,
        GucContext::Suset,
        none,
    );
    text(
        c"hiems.jwt_session_roles",
        c"Logins whose request.jwt.claims count, separated by commas.",
        c"Anyone can set the claims in plain SQL: name only logins that check the token first.",
        &JWT_SESSION_ROLES,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.answer_retention",
        c"How long an answer is kept that its caller does not have as it came.",
        c"See hiems.raw_answer(). 0: not at all.",
        &ANSWER_RETENTION,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    number(
        c"hiems.settlement_timeout",
        c"How long OpenRouter is asked for the cost of a call whose cost is not known.",
        c"By GET /generation, with longer and longer waits between. Then the call is booked without. 0: it \
          is not asked.",
        &SETTLEMENT_TIMEOUT,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"hiems.verify_every_cost",
        c"Whether each call's cost and tokens are compared with OpenRouter's record of the generation.",
        c"Off: only where they are not known, or an error names a generation. A row with the difference \
          is added where they are not the same.",
        &VERIFY_EVERY_COST,
        GucContext::Suset,
        none,
    );
    GucRegistry::define_bool_guc(
        c"hiems.log_content",
        c"Whether prompts and answers are kept in hiems_private.content_logs.",
        c"For superusers alone to read; never in a dump of pg_dump. Read as hiems.base_url is.",
        &LOG_CONTENT,
        GucContext::Suset,
        none,
    );
    number(
        c"hiems.content_retention",
        c"How long prompts and answers are kept where hiems.log_content is on.",
        c"The gateway deletes what is older, once a minute while it is up.",
        &CONTENT_RETENTION,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    number(
        c"hiems.ledger_retention",
        c"How long the rows of hiems.ai_usage_logs are kept.",
        c"The gateway deletes older ones, which are in no sum any more. -1: they are kept; less than a day: a day.",
        &LEDGER_RETENTION,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"hiems.allow_drop",
        c"Whether DROP EXTENSION hiems is let through.",
        c"The ledger and the stored keys go with it.",
        &ALLOW_DROP,
        GucContext::Suset,
        none,
    );
    #[cfg(debug_assertions)]
    GucRegistry::define_enum_guc(
        c"hiems.test_switch_off",
        c"What the gateway leaves out: for the tests of hiems's tests.",
        c"There is no such setting in a release build.",
        &TEST_SWITCH_OFF,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL,
    );
    #[cfg(debug_assertions)]
    number(
        c"hiems.test_pace",
        c"The gateway's intervals are divided by this, so that tests wait less.",
        c"There is no such setting in a release build.",
        &TEST_PACE,
        1,
        1000,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL,
    );
    session::reserve_prefix();
}

fn value(setting: &'static Text) -> Option<String> {
    let text = setting.get()?.to_string_lossy().trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn seconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(u64::try_from(setting.get()).unwrap_or_default())
}
