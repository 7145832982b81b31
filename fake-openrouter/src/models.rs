//! Which models exist, who serves them, under which name they answer, and what they cost.
//!
//! The well-known ones stand in `catalog`; any other `vendor/name` gets a date and prices that
//! follow from its name, so that it answers the same way every time.

mod catalog;

pub(crate) use catalog::{CATALOG, Model};

/// Routing variants choose among providers and leave the model's name as it is.
const ROUTING_VARIANTS: [&str; 4] = ["nitro", "floor", "exacto", "online"];

/// A model as it would serve one request.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The dated slug it answers with.
    pub(crate) permaslug: String,
    /// Display names of the providers that serve it.
    pub(crate) providers: Vec<String>,
    pub(crate) prices: Prices,
    /// Whether it spends tokens on reasoning.
    pub(crate) reasons: bool,
}

/// Dollars per token. Doubles, because OpenRouter computes with doubles; see `money`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    pub(crate) prompt: f64,
    pub(crate) completion: f64,
    pub(crate) cache_read: f64,
    /// Present for providers that charge for writing to their cache.
    pub(crate) cache_write: Option<f64>,
}

const FREE: Prices = Prices { prompt: 0.0, completion: 0.0, cache_read: 0.0, cache_write: None };

/// Finds a model by what the request calls it; `None` if there can be no such model.
pub(crate) fn offer(requested: &str) -> Option<Offer> {
    let (slug, variant) = match requested.split_once(':') {
        Some((slug, variant)) => (slug, Some(variant)),
        None => (requested, None),
    };
    let (vendor, name) = slug.split_once('/')?;
    let legal = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if !legal(vendor.trim_start_matches('~')) || !legal(name) || vendor == "nope" {
        return None;
    }
    let mut offer = CATALOG
        .iter()
        .find(|model| model.slug == slug || model.permaslug == slug)
        .map_or_else(|| invented(vendor, name), Model::offer);
    if let Some(variant) = variant.filter(|variant| !ROUTING_VARIANTS.contains(variant)) {
        offer.permaslug = format!("{}:{variant}", offer.permaslug);
        if variant == "free" {
            offer.prices = FREE;
        }
    }
    Some(offer)
}

/// What a dated slug is called without its date, where it is known.
pub(crate) fn slug_of(permaslug: &str) -> &str {
    CATALOG.iter().find(|model| model.permaslug == permaslug).map_or(permaslug, |model| model.slug)
}

/// The id of a model at a provider, in the form of a UUID.
pub(crate) fn endpoint_id(permaslug: &str, provider: &str) -> String {
    let (high, low) = (hash(permaslug), hash(provider));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFF,
        low >> 52,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// A model nobody listed.
fn invented(vendor: &str, name: &str) -> Offer {
    let seed = hash(&format!("{vendor}/{name}"));
    let permaslug = if ends_in_date(name) {
        format!("{vendor}/{name}")
    } else {
        format!("{vendor}/{name}-2025{:02}{:02}", 1 + seed % 12, 1 + (seed >> 8) % 28)
    };
    let prompt = (1 + (seed >> 16) % 300) as f64 * 1e-8;
    Offer {
        permaslug,
        providers: vec![display_name(vendor)],
        prices: Prices {
            prompt,
            completion: prompt * (2 + (seed >> 32) % 5) as f64,
            cache_read: prompt / 10.0,
            cache_write: None,
        },
        reasons: seed >> 63 == 1,
    }
}

/// Eight digits at the end, with or without dashes.
fn ends_in_date(name: &str) -> bool {
    let tail: Vec<char> = name.chars().rev().filter(|c| *c != '-').take(8).collect();
    tail.len() == 8 && tail.iter().all(char::is_ascii_digit)
}

/// `some-vendor` as `Some Vendor`.
fn display_name(vendor: &str) -> String {
    let words = vendor.trim_start_matches('~').split(['-', '_']).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words.map(capital).collect::<Vec<_>>().join(" ")
}

/// FNV-1a: the same on every machine and in every release.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permaslug(requested: &str) -> String {
        offer(requested).map(|offer| offer.permaslug).unwrap_or_default()
    }

    #[test]
    fn known_models_answer_under_their_dated_name() {
        assert_eq!(permaslug("openai/gpt-4o-mini"), "openai/gpt-4o-mini-2024-07-18");
        assert_eq!(permaslug("openai/gpt-4o-mini-2024-07-18"), "openai/gpt-4o-mini-2024-07-18");
        assert_eq!(permaslug("openai/gpt-4o-mini:nitro"), "openai/gpt-4o-mini-2024-07-18");
        assert_eq!(
            permaslug("anthropic/claude-sonnet-4.5"),
            "anthropic/claude-4.5-sonnet-20250929"
        );
    }

    #[test]
    fn other_models_get_a_stable_date_and_keep_their_variant() {
        let once = permaslug("acme/thinker-7b");
        assert_eq!(once, permaslug("acme/thinker-7b"));
        assert!(once.starts_with("acme/thinker-7b-2025"), "{once}");
        assert_eq!(permaslug("acme/thinker-7b:free"), format!("{once}:free"));
        assert_eq!(offer("acme/thinker-7b:free").map(|offer| offer.prices.prompt), Some(0.0));
        assert_eq!(permaslug("acme/thinker-20250101"), "acme/thinker-20250101");
    }

    #[test]
    fn what_is_not_vendor_and_name_does_not_exist() {
        for bad in ["gpt-4o", "", "a/", "/b", "a/b/c", "nope/model", "a b/c", "@preset/x"] {
            assert!(offer(bad).is_none(), "{bad}");
        }
    }
}
