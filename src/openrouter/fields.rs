//! Some fields of a JSON object, unparsed: what is not asked for is passed over, and a field that is too deep or of
//! another type than expected spoils no other.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A field, where it is there.
pub type Field<'a> = Option<&'a RawValue>;

/// The fields of these names of the object that `text` is; of one given twice the last counts, as in `jsonb`. The
/// error: it is no JSON, or no object.
pub fn pick<'a, const N: usize>(
    text: &'a str,
    names: &[&str; N],
) -> serde_json::Result<[Field<'a>; N]> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = Pick(names).deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// As [`pick`], of a field that may be there, and an object.
pub fn pick_of<'a, const N: usize>(field: Field<'a>, names: &[&str; N]) -> [Field<'a>; N] {
    field.and_then(|field| pick(field.get(), names).ok()).unwrap_or([None; N])
}

/// A field's value; None where it is of another type.
pub fn read<'a, T: Deserialize<'a>>(field: Field<'a>) -> Option<T> {
    serde_json::from_str(field?.get()).ok()
}

struct Pick<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Pick<'_, N> {
    type Value = [Field<'de>; N];

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Field<'de>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place(self.0))? {
            match place {
                Some(place) => found[place] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Where a name stands among those that are asked for.
struct Place<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == name))
    }
}

/// The longest text of an answer's that goes into the journal and the ledger with each call, in octets.
const MAX_LABEL: usize = 512;

/// The beginning of a text that names something: a model, a provider, an error.
pub fn label(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_LABEL)].to_owned()
}

/// A generation's id; None of what is too long to be one. It is a key of an index, where what is too long would
/// keep the row from being written.
pub fn generation_id(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty() && text.len() <= MAX_LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(text: &str, names: &[&str; N]) -> Option<[Option<String>; N]> {
        let found = pick(text, names).ok()?;
        Some(found.map(|field| field.map(|field| field.get().to_owned())))
    }

    #[test]
    fn the_last_of_a_name_counts_also_where_it_is_escaped() {
        let text = r#" {"a": 1, "b": {"a": 2}, "\u0061": 1.50e-7, "c": null} "#;
        let expected = [Some("1.50e-7".to_owned()), Some("null".to_owned()), None];
        assert_eq!(texts(text, &["a", "c", "d"]), Some(expected));
    }

    #[test]
    fn a_field_that_is_too_deep_spoils_no_other() {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"deep": {open}{close}, "other": {open}{close}, "a": true}}"#);
        let found = texts(&text, &["a", "deep"]);
        assert!(found.is_some_and(|[a, deep]| a.as_deref() == Some("true") && deep.is_some()));
    }

    #[test]
    fn names_are_cut_off_and_ids_are_not() {
        let long = "å".repeat(MAX_LABEL);
        assert_eq!(label(&long), "å".repeat(MAX_LABEL / 2));
        assert_eq!(label("a/b"), "a/b");
        assert_eq!(label(&format!("a{long}")).len(), MAX_LABEL - 1);
        assert_eq!(generation_id("gen-1".to_owned()).as_deref(), Some("gen-1"));
        assert_eq!((generation_id(long), generation_id(String::new())), (None, None));
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        assert_eq!(texts("[1]", &["a"]), None);
        assert_eq!(texts(r#"{"a": 1} x"#, &["a"]), None);
        assert_eq!(texts(r#"{"a": 1"#, &["a"]), None);
        assert!(pick("[1]", &["a"]).is_err_and(|error| error.is_data()));
        assert!(pick_of(None, &["a"])[0].is_none());
    }

    #[test]
    fn a_value_of_another_type_is_none() {
        let number = |text| pick(text, &["a"]).ok().and_then(|[a]| read::<i64>(a));
        assert_eq!(number(r#"{"a": 12}"#), Some(12));
        assert_eq!(number(r#"{"a": "12"}"#), None);
        assert_eq!(number(r#"{"a": 12.0}"#), None);
        assert_eq!(number(r#"{"b": 12}"#), None);
    }
}
