//! Every way OpenRouter fails, as the caller and the ledger see it.

mod caught;
mod lost;
mod odd_errors;
mod statuses;
mod unsure;

use hiems_tests::{KEY, Refusal};

/// The id of the call that DETAIL begins with.
fn call_id(refusal: &Refusal) -> String {
    let id = refusal.detail.strip_prefix("call ").and_then(|rest| rest.get(..36));
    id.unwrap_or_else(|| panic!("DETAIL names the call: {refusal:?}")).to_owned()
}

/// Panics if any of the error's texts holds the key.
fn assert_keyless(refusal: &Refusal) {
    for text in [&refusal.message, &refusal.detail, &refusal.hint] {
        assert!(!text.contains(KEY), "the key stands in an error");
    }
}
