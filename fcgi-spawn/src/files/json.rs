//! JSON (RFC 8259), written.

use std::fmt;
use std::time::Duration;

pub(crate) enum Json {
    Null,
    Number(u64),
    /// Seconds, to the millisecond.
    Seconds(Duration),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// Names and values, in order.
#[derive(Default)]
pub(crate) struct Object(Vec<(&'static str, Json)>);

impl Object {
    pub(crate) fn add(&mut self, name: &'static str, value: Json) {
        self.0.push((name, value));
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Seconds(time) => write!(f, "{}.{:03}", time.as_secs(), time.subsec_millis()),
            Json::Text(text) => string(f, text),
            Json::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    f.write_str(if at > 0 { "," } else { "" })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Json::Object(Object(members)) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}\"{name}\":{value}", if at > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

fn string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(character))?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_escaped() {
        let text = Json::Text("a\"\\\n\u{1b}\u{e4}".into());
        assert_eq!(text.to_string(), "\"a\\\"\\\\\\u000a\\u001b\u{e4}\"");
        let list = Json::List(vec![
            Json::Null,
            Json::Seconds(Duration::from_millis(1050)),
            Json::Number(3),
            Json::Object(Object::default()),
        ]);
        assert_eq!(list.to_string(), "[null,1.050,3,{}]");
    }
}
