//! Checks JSON against `docs/json.schema.json`: the part of JSON Schema that is used there. Another
//! keyword fails the test.

use serde_json::{Map, Value};

/// The schema of everything that is documented.
pub struct Schema(Value);

impl Schema {
    /// The documented schema.
    pub fn documented() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.schema.json");
        let text = std::fs::read_to_string(path).expect("the schema is there");
        Self(serde_json::from_str(&text).expect("the schema is JSON"))
    }

    /// The names of what it describes.
    pub fn names(&self) -> Vec<&str> {
        self.0["$defs"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Fails the test unless `value` is as the schema of this name says.
    #[track_caller]
    pub fn check(&self, name: &str, value: &Value) {
        let schema = &self.0["$defs"][name];
        assert!(schema.is_object(), "{name} is not documented: {value}");
        if let Err(error) = self.matches(schema, value) {
            panic!("not as documented as {name}: {error}\n{value}");
        }
    }

    fn matches(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            let is_met = match keyword.as_str() {
                "description" | "properties" | "additionalProperties" => true,
                "type" => match rule {
                    Value::Array(kinds) => kinds.iter().any(|kind| is_kind(kind, value)),
                    kind => is_kind(kind, value),
                },
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "required" => rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "items" => {
                    let mut items = value.as_array().into_iter().flatten();
                    items.try_for_each(|item| self.matches(rule, item))?;
                    true
                }
                "$ref" => {
                    let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    self.matches(self.0.pointer(pointer).expect("a definition"), value)?;
                    true
                }
                other => panic!("the keyword {other} is not known here"),
            };
            if !is_met {
                return Err(format!("{keyword} {rule}: {value}"));
            }
        }
        value.as_object().map_or(Ok(()), |fields| self.match_fields(schema, fields))
    }

    fn match_fields(&self, schema: &Value, fields: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in fields {
            let rule =
                schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            match rule {
                Some(Value::Bool(false)) => return Err(format!("{name} is not documented")),
                Some(Value::Object(_)) => {
                    self.matches(rule.unwrap(), value)
                        .map_err(|error| format!("{name}: {error}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_kind(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}
