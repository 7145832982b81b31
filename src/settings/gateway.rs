//! What the gateway goes by: its own settings, not a caller's.

use std::time::Duration;

use pgrx::guc::GucSetting;

use super::*;

/// What the gateway works by: read when it starts, and again on a reload.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub base_url: String,
    pub ca_file: Option<String>,
    pub master_key_file: Option<String>,
    pub request_timeout: Duration,
    pub max_attempts: u32,
    pub connect_timeout: Duration,
    pub max_in_flight: usize,
    /// In percent.
    pub max_share: usize,
    pub queue_concurrency: usize,
    pub max_response_bytes: usize,
    pub idle_timeout: Duration,
    pub answer_retention: Duration,
    pub log_content: bool,
    pub content_retention: Duration,
    /// None: the ledger's rows stay for ever.
    pub ledger_retention: Option<Duration>,
    pub settlement_timeout: Duration,
    pub verify_every_cost: bool,
    /// Whether listeners are told of anything.
    pub notifies: bool,
    /// Whether the gateway tells channel `hiems_usage` of what is committed.
    pub tells_usage: bool,
    pub switch_off: SwitchOff,
    pub app_url: Option<String>,
    pub app_title: Option<String>,
    pub app_categories: Option<String>,
}

/// Whoever sets less has mistaken the unit.
const SHORTEST_LEDGER_RETENTION: Duration = Duration::from_secs(86_400);

impl GatewaySettings {
    /// The settings of this process.
    pub fn read() -> GatewaySettings {
        let milliseconds = |setting: &GucSetting<i32>| {
            Duration::from_millis(u64::try_from(setting.get()).unwrap_or_default())
        };
        let count = |setting: &GucSetting<i32>| usize::try_from(setting.get()).unwrap_or_default();
        GatewaySettings {
            base_url: value(&BASE_URL).unwrap_or_default(),
            ca_file: value(&CA_FILE),
            master_key_file: value(&MASTER_KEY_FILE),
            request_timeout: milliseconds(&REQUEST_TIMEOUT),
            max_attempts: u32::try_from(MAX_ATTEMPTS.get()).unwrap_or(1),
            connect_timeout: milliseconds(&CONNECT_TIMEOUT),
            max_in_flight: count(&MAX_IN_FLIGHT),
            max_share: count(&MAX_SHARE),
            queue_concurrency: count(&QUEUE_CONCURRENCY),
            max_response_bytes: count(&MAX_RESPONSE_BYTES),
            idle_timeout: milliseconds(&WORKER_IDLE_TIMEOUT),
            answer_retention: answer_retention(),
            log_content: LOG_CONTENT.get(),
            content_retention: seconds(&CONTENT_RETENTION),
            ledger_retention: (LEDGER_RETENTION.get() >= 0)
                .then(|| seconds(&LEDGER_RETENTION).max(SHORTEST_LEDGER_RETENTION)),
            settlement_timeout: seconds(&SETTLEMENT_TIMEOUT),
            verify_every_cost: VERIFY_EVERY_COST.get(),
            notifies: !matches!(NOTIFY.get(), Notify::Off),
            tells_usage: NOTIFY.get() == Notify::Coalesced,
            switch_off: switch_off(),
            app_url: value(&APP_URL),
            app_title: value(&APP_TITLE),
            app_categories: value(&APP_CATEGORIES),
        }
    }
}

#[cfg(debug_assertions)]
fn switch_off() -> SwitchOff {
    TEST_SWITCH_OFF.get()
}

#[cfg(not(debug_assertions))]
fn switch_off() -> SwitchOff {
    SwitchOff::None
}

/// An interval of the gateway's own, such as from one sweep to the next. Debug builds
/// alone divide it by hiems.test_pace, so that tests wait less. To be called on the main thread, which settings belong to.
#[cfg(debug_assertions)]
pub fn interval(of: Duration) -> Duration {
    of / u32::try_from(TEST_PACE.get()).unwrap_or(1).max(1)
}

/// An interval of the gateway's own.
#[cfg(not(debug_assertions))]
pub fn interval(of: Duration) -> Duration {
    of
}
