//! Decoding as existing configurations rely on it: the keys of a structure match whatever their
//! case, of two that match the later one counts, and a member that is `null` is as if it were
//! absent.
//!
//! Maps are left as they are, since their keys are data (`sysctl`). A structure with
//! `#[serde(flatten)]` decodes as a map, and an untagged enumeration's content too, so neither gets
//! any of this.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Error, Map, Value};

/// Decodes a value. An error begins with the path to where it is.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    decode_node(Node::Value(value))
}

/// Decodes an object.
pub fn decode_object<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, String> {
    decode_node(Node::Object(object))
}

/// The member of this name, whatever its case; the last one if there are several.
pub fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let is_meant =
        |(name, value): &(&String, &Value)| name.eq_ignore_ascii_case(key) && !value.is_null();
    object.iter().rfind(is_meant).map(|(_, value)| value)
}

fn decode_node<T: DeserializeOwned>(node: Node<'_>) -> Result<T, String> {
    serde_path_to_error::deserialize(node).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Value(&'a Value),
    Object(&'a Map<String, Value>),
}

impl<'a> Node<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Object(object) => Self::Object(object),
            value => Self::Value(value),
        }
    }
}

impl<'de> IntoDeserializer<'de, Error> for Node<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Object(object) => {
                let members = object.iter().map(|(key, value)| (key.as_str(), Node::of(value)));
                visitor.visit_map(MapDeserializer::new(members))
            }
            Self::Value(Value::Array(items)) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Node::of)))
            }
            Self::Value(value) => value.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match Self::of_either(self) {
            Self::Object(object) => {
                visitor.visit_map(MapDeserializer::new(matched(object, fields).into_iter()))
            }
            // An array must not pass for a structure.
            Self::Value(value) => Err(unexpected(value, &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Value(Value::Null) => visitor.visit_none(),
            node => visitor.visit_some(node),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Value(value) => value.deserialize_enum(name, variants, visitor),
            Self::Object(object) => object.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'a> Node<'a> {
    fn of_either(self) -> Self {
        match self {
            Self::Value(value) => Self::of(value),
            object @ Self::Object(_) => object,
        }
    }
}

/// The members that the structure has, under the names that it knows them by.
fn matched<'a>(
    object: &'a Map<String, Value>,
    fields: &'static [&'static str],
) -> Vec<(&'static str, Node<'a>)> {
    let mut known: Vec<(&'static str, Node<'a>)> = Vec::new();
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let Some(field) = fields.iter().find(|field| field.eq_ignore_ascii_case(key)) else {
            continue;
        };
        match known.iter_mut().find(|(earlier, _)| earlier == field) {
            Some(earlier) => earlier.1 = Node::of(value),
            None => known.push((field, Node::of(value))),
        }
    }
    known
}

fn unexpected<'de>(value: &Value, expected: &impl Visitor<'de>) -> Error {
    use serde::de::{Error as _, Unexpected};
    let found = match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(flag) => Unexpected::Bool(*flag),
        Value::Number(_) => Unexpected::Other("number"),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    Error::invalid_type(found, expected)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Outer {
        is_gateway: bool,
        mtu: Option<u32>,
        bridge: String,
        ipam: Inner,
        ranges: Vec<Vec<Inner>>,
        sysctl: BTreeMap<String, String>,
        free: Option<Value>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        data_dir: String,
        number: u32,
    }

    #[track_caller]
    fn outer(value: Value) -> Outer {
        decode(&value).unwrap()
    }

    #[test]
    fn keys_match_in_any_case_at_any_depth() {
        let read = outer(json!({
            "ISGATEWAY": true, "Mtu": 5, "unknown": [{}], "IPAM": {"DATADIR": "/x"},
            "Ranges": [[{"Number": 1}, {"NUMBER": 2}]],
        }));
        assert!(read.is_gateway);
        assert_eq!((read.mtu, read.ipam.data_dir.as_str()), (Some(5), "/x"));
        assert_eq!(read.ranges[0].iter().map(|r| r.number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn the_later_one_counts_and_null_is_absent() {
        let text = r#"{"bridge": "a", "BRIDGE": "b", "mtu": 1, "MTU": null, "isGateway": null}"#;
        let read = outer(serde_json::from_str(text).unwrap());
        assert_eq!((read.bridge.as_str(), read.mtu, read.is_gateway), ("b", Some(1), false));
        let Value::Object(object) = serde_json::from_str(text).unwrap() else { panic!() };
        assert_eq!(member(&object, "Bridge"), Some(&json!("b")));
        assert_eq!(member(&object, "Mtu"), Some(&json!(1)));
        assert_eq!(member(&object, "isgateway"), None);
    }

    #[test]
    fn data_stays_as_it_is() {
        let read = outer(json!({"sysctl": {"A": "1", "a": "2"}, "free": {"N": null, "n": 1}}));
        assert_eq!(read.sysctl.len(), 2);
        assert_eq!(read.free, Some(json!({"N": null, "n": 1})));
    }

    #[test]
    fn an_error_names_the_path() {
        for (value, path) in [
            (json!({"Ranges": [[{}, {"NUMBER": "x"}]]}), "ranges[0][1].number: "),
            (json!({"ipam": []}), "ipam: "),
            (json!({"ipam": {"number": -1}}), "ipam.number: "),
            (json!({"mtu": 1.5}), "mtu: "),
            (json!({"mtu": 4294967296_u64}), "mtu: "),
            (json!({"sysctl": {"a": 1}}), "sysctl.a: "),
            (json!([]), "invalid type"),
            (json!("x"), "invalid type"),
        ] {
            let error = decode::<Outer>(&value).unwrap_err();
            assert!(error.starts_with(path), "{value}: {error}");
        }
    }
}
