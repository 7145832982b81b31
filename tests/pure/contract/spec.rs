//! The description of the API: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The description.
pub struct Spec(Value);

impl Spec {
    /// None where it is not at hand; says so. The file is not ours to pass on, and is nowhere to be had
    /// by name, so that a test without it is no failure.
    pub fn at_hand() -> Option<Spec> {
        let beside =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/openrouter/core.openapi.json");
        let path = std::env::var_os("HIEMS_OPENAPI").unwrap_or_else(|| beside.into());
        if std::env::var_os("HIEMS_OPENAPI").is_none() && !Path::new(&path).exists() {
            println!("not compared with OpenRouter's description: HIEMS_OPENAPI names no file");
            return None;
        }
        let text = std::fs::read_to_string(&path).expect("the file that HIEMS_OPENAPI names");
        Some(Spec(serde_json::from_str(&text).expect("JSON")))
    }

    /// The schema of a component.
    pub fn component(&self, name: &str) -> Schema {
        self.schema(&json!({"$ref": format!("#/components/schemas/{name}")}), name)
    }

    /// The schema of an answer.
    pub fn answer(&self, path: &str, method: &str, status: u16) -> Schema {
        let what = format!("{method} {path}: {status}");
        let content = &self.0["paths"][path][method]["responses"][status.to_string()]["content"];
        self.schema(&content["application/json"]["schema"], &what)
    }

    /// The schema of a request's body.
    pub fn request(&self, path: &str) -> Schema {
        let content = &self.0["paths"][path]["post"]["requestBody"]["content"];
        self.schema(&content["application/json"]["schema"], path)
    }

    /// Every error status that is described for a path.
    pub fn error_statuses(&self, path: &str, method: &str) -> Vec<u16> {
        let responses = self.0["paths"][path][method]["responses"].as_object().expect("responses");
        responses.keys().filter_map(|code| code.parse().ok()).filter(|code| *code >= 400).collect()
    }

    /// References point into the components, which the schema is given to that end.
    fn schema(&self, schema: &Value, what: &str) -> Schema {
        let mut schema = schema.clone();
        assert!(schema.is_object(), "{what} is described");
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).expect("a schema");
        Schema { validator, what: what.to_owned() }
    }
}

/// What a value must be like.
pub struct Schema {
    validator: Validator,
    what: String,
}

impl Schema {
    pub fn assert_fits(&self, value: &Value) {
        let faults = self.faults(value);
        assert!(faults.is_empty(), "{}: {faults:#?}\n{value:#}", self.what);
    }

    /// Where and why a value does not fit.
    pub fn faults(&self, value: &Value) -> Vec<String> {
        let errors = self.validator.iter_errors(value);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}
