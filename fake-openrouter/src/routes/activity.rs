//! GET /activity: what was used on each of the last 30 completed UTC days, for management keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{Data, json};
use crate::bill::Generation;
use crate::money::{self, Token};
use crate::refusal::Refusal;
use crate::state::State;
use crate::{auth, clock, models};

/// Filters: `date`, one of those days, and `api_key_hash`, the SHA-256 of a key in hexadecimal.
pub(super) async fn list(
    Shared(state): Shared<Arc<State>>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = auth::for_management(&headers, &state.config) {
        return refusal.into_response();
    }
    let mut days = clock::completed_days(OffsetDateTime::now_utc().unix_timestamp());
    if let Some(date) = query.get("date") {
        days.retain(|day| day == date);
        if days.is_empty() {
            let message = "Date must be within the last 30 (completed) UTC days";
            return Refusal::bad_request(message).into_response();
        }
    }
    let hash = query.get("api_key_hash");
    let billed = state.bill.billed(|key| hash.is_none_or(|hash| *hash == hash_of(key)));
    let mut groups: BTreeMap<_, Vec<&Generation>> = BTreeMap::new();
    for generation in &billed {
        let day = clock::day(generation.created);
        if days.contains(&day) {
            let group = (day, &*generation.model, &*generation.provider);
            groups.entry(group).or_default().push(generation);
        }
    }
    let items: Vec<Item> =
        groups.iter().map(|((day, model, provider), of)| item(day, model, provider, of)).collect();
    json(&Data { data: items })
}

fn hash_of(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The figures of one day, model and endpoint.
fn item<'a>(
    day: &'a str,
    model: &'a str,
    provider: &'a str,
    generations: &[&Generation],
) -> Item<'a> {
    let count = |of: fn(&Generation) -> u64| generations.iter().map(|it| of(it)).sum();
    let own = generations.iter().filter(|generation| generation.is_byok);
    Item {
        date: day,
        model: models::slug_of(model),
        model_permaslug: model,
        endpoint_id: models::endpoint_id(model, provider),
        provider_name: provider,
        usage: Amount(money::sum(generations.iter().map(|generation| &*generation.cost))),
        byok_usage_inference: Amount(money::sum(own.filter_map(|it| it.upstream_cost.as_deref()))),
        requests: generations.len(),
        prompt_tokens: count(|it| it.prompt_tokens),
        completion_tokens: count(|it| it.completion_tokens),
        reasoning_tokens: count(|it| it.reasoning_tokens),
        cached_tokens: count(|it| it.cached_tokens),
    }
}

#[derive(Serialize)]
struct Item<'a> {
    date: &'a str,
    model: &'a str,
    model_permaslug: &'a str,
    endpoint_id: String,
    provider_name: &'a str,
    usage: Amount,
    byok_usage_inference: Amount,
    requests: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    cached_tokens: u64,
}

/// A sum as the number it is.
struct Amount(String);

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Token(&self.0).serialize(serializer)
    }
}
